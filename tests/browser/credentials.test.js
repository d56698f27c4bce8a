// A hub with credentials and pages of its own origin, of a listed one and of other origins.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BLANK, describeInEach, hasData, inPage, openTab, seenBy, serveHtml } from "./harness/browsers.js";
import { startProtected } from "./harness/protected.js";
import { startProxy } from "./harness/proxy.js";
import { until } from "./harness/server.js";

const READS = { subscribe: ["project.*"] };

describeInEach("Credentials", (name, browser) => {
    /** Starts a hub, with or without the page's origin in its list, and opens the page. */
    async function openApp(t, { isListed, lines = "" }) {
        const page = await serveHtml(t, BLANK);
        const origin = new URL(page).origin;
        const settings = isListed ? { CORS_ORIGINS: origin } : {};
        const server = await startProtected(t, { lines, settings });
        const tab = await openTab(t, browser());
        await tab.goto(page);
        return { server, tab };
    }

    /** Opens an EventSource and records its events and errors. */
    async function listen(tab, url, isWithCredentials = false) {
        await tab.evaluate(
            (url, withCredentials) => {
                const seen = { opened: 0, broken: 0, data: [], ends: [], lastId: "" };
                const source = new EventSource(url, { withCredentials });
                const keep = (event) => (seen.lastId = event.lastEventId);
                source.onopen = () => (seen.opened += 1);
                source.onerror = () => (seen.broken += 1);
                source.onmessage = (event) => {
                    seen.data.push(event.data);
                    keep(event);
                };
                source.addEventListener("tidings.position", keep);
                source.addEventListener("tidings.end", (event) => {
                    seen.ends.push(JSON.parse(event.data));
                    keep(event);
                });
                Object.assign(window, { seen, source });
            },
            url,
            isWithCredentials,
        );
    }
    const isOpen = (tab) => inPage(tab, () => window.seen.opened > 0 && window.seen.lastId);
    const isClosed = (tab) => inPage(tab, () => window.source.readyState === EventSource.CLOSED);

    /** Takes a ticket as a page does, with a token in a header. */
    const ticket = (tab, server, token, channels) =>
        tab.evaluate(
            async (url, token, channels) => {
                const answer = await fetch(`${url}/api/v1/tickets`, {
                    method: "POST",
                    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
                    body: JSON.stringify({ channels }),
                });
                if (!answer.ok) throw new Error((await answer.json()).code);
                return (await answer.json()).ticket;
            },
            server.url,
            token,
            channels,
        );

    test("a stream whose token expires says so, and a ticket of a new one resumes without a hole", async (t) => {
        const { server, tab } = await openApp(t, { isListed: true });
        const old = server.token(READS, 4);
        const first = await ticket(tab, server, old, ["project.1"]);
        await listen(tab, `${server.url}/api/v1/events/project.1?ticket=${first}`);
        await isOpen(tab);
        await server.publish("project.1", "1");
        await hasData(tab, 1);
        await isClosed(tab);
        const { data, ends, lastId } = await seenBy(tab);
        assert.deepEqual(data, ["1"]);
        assert.deepEqual(ends, [{ reason: "token_expired", reconnect: true }]);
        await assert.rejects(ticket(tab, server, old, ["project.1"]), /token_expired/);

        await server.publishAll("project.1", ["2", "3"]);
        const second = await ticket(tab, server, server.token(READS), ["project.1"]);
        const query = new URLSearchParams({ ticket: second, lastEventId: lastId });
        await listen(tab, `${server.url}/api/v1/events/project.1?${query}`);
        await hasData(tab, 2);
        await server.publish("project.1", "4");
        await hasData(tab, 3);
        assert.deepEqual((await seenBy(tab)).data, ["2", "3", "4"]);
    });

    test("an EventSource that was cut finds its ticket spent, and stops", async (t) => {
        const { server, tab } = await openApp(t, { isListed: true });
        const proxy = await startProxy(t, server.port);
        const spent = await ticket(tab, server, server.token(READS), ["project.1"]);
        await listen(tab, `${proxy.url}/api/v1/events/project.1?ticket=${spent}`);
        await isOpen(tab);
        proxy.cut();
        await inPage(tab, () => window.seen.broken > 0);
        proxy.mend();
        await isClosed(tab);
        assert.deepEqual((await seenBy(tab)).ends, []);
        assert.equal((await server.connections()).length, 0);
    });

    test("an EventSource of the hub's own origin is known by its cookie, and returns by itself", async (t) => {
        const server = await startProtected(t, { lines: 'cookie = "app_token"' });
        const proxy = await startProxy(t, server.port);
        const tab = await openTab(t, browser());
        await setCookie(proxy.url, server.token(READS));
        await tab.goto(`${proxy.url}/healthz`);
        await listen(tab, "/api/v1/events/project.1");
        await isOpen(tab);
        await server.publish("project.1", "1");
        await hasData(tab, 1);
        proxy.cut();
        await server.publish("project.1", "2");
        proxy.mend();
        await hasData(tab, 2);
        assert.deepEqual((await seenBy(tab)).data, ["1", "2"]);
    });

    test("a page of a listed origin is known by its visitor's cookie", async (t) => {
        const { server, tab } = await openApp(t, { isListed: true, lines: 'cookie = "app_token"' });
        await setCookie(server.url, server.token(READS));
        await listen(tab, `${server.url}/api/v1/events/project.1`, true);
        await isOpen(tab);
        await server.publish("project.1", "1");
        await hasData(tab, 1);
    });

    test("a page of any other origin reads nothing and writes nothing with its visitor's cookie", async (t) => {
        const { server, tab } = await openApp(t, { isListed: false, lines: 'cookie = "app_token"' });
        await setCookie(server.url, server.token({ ...READS, publish: ["project.*"] }));
        const statuses = await answeredTo(tab);
        await listen(tab, `${server.url}/api/v1/events/project.1?history=all`, true);
        await isClosed(tab);
        await server.publish("project.1", "of the backend");
        // Plain text needs no preflight, so that the request itself reaches the hub.
        const kind = await tab.evaluate(async (url) => {
            const how = { method: "POST", body: "of the page", mode: "no-cors", credentials: "include" };
            return (await fetch(`${url}/api/v1/events/project.1`, how)).type;
        }, server.url);
        assert.equal(kind, "opaque");
        await until("both are answered", () => statuses.length >= 2);
        assert.deepEqual(statuses.slice(0, 2), [403, 403]);
        const { opened, data } = await seenBy(tab);
        assert.deepEqual({ opened, data }, { opened: 0, data: [] });
        const { events } = await server.history("project.1");
        assert.deepEqual(events.map((event) => event.data), ["of the backend"]);
    });

    test("a fetch with a token works from a listed origin, through its preflight, and from no other", async (t) => {
        const listed = await openApp(t, { isListed: true });
        const other = await openApp(t, { isListed: false });
        await listed.server.publish("project.1", "1");
        /** Reads until the first event, by `fetch`. */
        const read = (tab, url, token) =>
            tab.evaluate(
                async (url, token) => {
                    const stop = new AbortController();
                    const headers = { Authorization: `Bearer ${token}` };
                    const answer = await fetch(url, { headers, signal: stop.signal });
                    const connection = answer.headers.get("Tidings-Connection");
                    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
                    let text = "";
                    while (!text.includes("data: 1")) text += (await reader.read()).value;
                    stop.abort();
                    return { status: answer.status, connection };
                },
                url,
                token,
            );
        const url = (server) => `${server.url}/api/v1/events/project.1?history=all`;
        const { status, connection } = await read(listed.tab, url(listed.server), listed.server.token(READS));
        assert.equal(status, 200);
        assert.match(connection, /^[0-9a-f]{32}$/);
        await assert.rejects(read(other.tab, url(other.server), other.server.token(READS)), /fetch|Network/i);
    });

    /** Statuses of all later answers, also of those that the browser hides from the page. */
    async function answeredTo(tab) {
        const statuses = [];
        if (name === "chromium") {
            const session = await tab.createCDPSession();
            await session.send("Network.enable");
            session.on("Network.responseReceivedExtraInfo", ({ statusCode }) => statuses.push(statusCode));
        } else {
            tab.on("response", (response) => statuses.push(response.status()));
        }
        return statuses;
    }

    const setCookie = (url, value) => {
        const { hostname: domain } = new URL(url);
        return browser().setCookie({ name: "app_token", value, domain, path: "/", httpOnly: true, sameSite: "Lax" });
    };
});
