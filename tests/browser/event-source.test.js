// The EventSource of browsers, in pages of another origin, over a network and a hub that break.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BLANK, describeInEach, hasData, inPage, openTab, seenBy, serveHtml } from "./harness/browsers.js";
import { startProxy } from "./harness/proxy.js";
import { folder, numbered, startServer, until } from "./harness/server.js";

const ID = /^[0-9a-f]{16}-[0-9]+-[0-9a-f]{8}$/;

describeInEach("EventSource", (_, browser) => {
    /** Opens a page with an EventSource on a channel, and waits for its position. */
    async function subscribe(t, base, channel) {
        const tab = await openTab(t, browser());
        await tab.goto(await serveHtml(t, BLANK));
        await tab.evaluate((url) => {
            const seen = { opened: 0, broken: 0, data: [], positions: [], gaps: [], ends: [], order: [] };
            const source = new EventSource(url);
            source.onopen = () => (seen.opened += 1);
            source.onerror = () => (seen.broken += 1);
            source.onmessage = (event) => {
                seen.data.push(event.data);
                seen.order.push("event");
            };
            source.addEventListener("tidings.position", (event) => {
                seen.positions.push({ id: event.lastEventId, data: event.data });
            });
            source.addEventListener("tidings.gap", (event) => {
                seen.gaps.push(JSON.parse(event.data));
                seen.order.push("gap");
            });
            source.addEventListener("tidings.end", (event) => seen.ends.push(JSON.parse(event.data)));
            Object.assign(window, { seen, source });
        }, `${base}/api/v1/events/${channel}`);
        await inPage(tab, () => window.seen.positions.length > 0);
        return tab;
    }

    /** All received events, once another event shows that no more are on their way. */
    async function settled(tab, server, channel, count) {
        await hasData(tab, count);
        await server.publish(channel, "last");
        await hasData(tab, count + 1);
        const seen = await seenBy(tab);
        assert.equal(seen.data.pop(), "last");
        return seen;
    }

    test("a stream that is cut before its first event comes back without a hole", async (t) => {
        const server = await startServer(t);
        const proxy = await startProxy(t, server.port);
        await server.publish("project.1", "before the page came");
        const tab = await subscribe(t, proxy.url, "project.1");
        proxy.cut();
        await server.publishAll("project.1", numbered(1, 5));
        proxy.mend();
        const seen = await settled(tab, server, "project.1", 5);
        assert.deepEqual(seen.data, numbered(1, 5));
        assert.deepEqual(seen.gaps, []);
        assert.ok(seen.broken > 0 && seen.opened === 2, `${seen.broken} breaks, ${seen.opened} opens`);
    });

    test("a stream that is cut in the middle of an event gets that event once", async (t) => {
        const server = await startServer(t);
        const proxy = await startProxy(t, server.port);
        const tab = await subscribe(t, proxy.url, "project.1");
        await server.publish("project.1", "1");
        await hasData(tab, 1);
        proxy.cutAfter(100);
        await server.publish("project.1", "2".repeat(5000));
        await inPage(tab, () => window.seen.broken > 0);
        await server.publish("project.1", "3");
        proxy.mend();
        const seen = await settled(tab, server, "project.1", 3);
        assert.deepEqual(seen.data, ["1", "2".repeat(5000), "3"]);
        assert.deepEqual(seen.gaps, []);
    });

    test("a stream that is quiet for longer than retention on a busy hub comes back without a gap", async (t) => {
        const settings = { STREAM_KEEP_ALIVE: "200ms", LOG_RETENTION_BYTES: "64KiB" };
        const server = await startServer(t, { settings });
        const proxy = await startProxy(t, server.port);
        const tab = await subscribe(t, proxy.url, "quiet");
        await server.publish("quiet", "1");
        await hasData(tab, 1);
        const [first] = (await server.history("quiet")).events;
        // Busy until retention has trimmed the quiet channel, and the offset of its client's last event.
        await until("retention passes the client's last event", async () => {
            await server.publishAll("busy", Array(50).fill("x".repeat(500)));
            const busy = await server.history("busy", { after: first.id });
            return (await server.history("quiet")).events.length === 0 && busy.gap;
        });
        const head = (await server.publish("busy", "newest")).offset;
        const isPast = (offset) => {
            const { positions } = window.seen;
            return positions.length > 3 && Number(positions.at(-1).id.split("-")[1]) >= offset;
        };
        await inPage(tab, isPast, head);
        proxy.cut();
        await server.publishAll("quiet", numbered(2, 4));
        await server.publishAll("busy", numbered(1, 10));
        proxy.mend();
        const seen = await settled(tab, server, "quiet", 4);
        assert.deepEqual(seen.data, numbered(1, 4));
        assert.deepEqual(seen.gaps, []);
    });

    test("a stream that lost something is told of the gap before what is left", async (t) => {
        const server = await startServer(t, { settings: { LOG_RETENTION_EVENTS: "5" } });
        const proxy = await startProxy(t, server.port);
        const tab = await subscribe(t, proxy.url, "project.1");
        await server.publish("project.1", "1");
        await hasData(tab, 1);
        const [first] = (await server.history("project.1")).events;
        proxy.cut();
        await server.publishAll("project.1", numbered(2, 40));
        const kept = await until("the log trims", async () => {
            const page = await server.history("project.1", { after: first.id });
            return page.gap && page.events.length === 5 && page.events.map(({ data }) => data);
        });
        proxy.mend();
        const seen = await settled(tab, server, "project.1", 6);
        assert.deepEqual(seen.data, ["1", ...kept]);
        assert.deepEqual(seen.order.slice(0, 7), ["event", "gap", ...kept.map(() => "event")]);
        assert.equal(seen.gaps.length, 1);
        const [{ resumedAt, ...gap }] = seen.gaps;
        assert.deepEqual(gap, { channels: ["project.1"], reason: "trimmed", requested: first.id });
        assert.match(resumedAt, ID);
    });

    test("a stream is told that its hub shuts down, and resumes at the next process", async (t) => {
        const dataDir = await folder(t);
        const first = await startServer(t, { dataDir });
        const tab = await subscribe(t, first.url, "project.1");
        await first.publish("project.1", "1");
        await hasData(tab, 1);
        assert.equal(await first.stop(), 0);
        await inPage(tab, () => window.seen.ends.length > 0);
        assert.deepEqual((await seenBy(tab)).ends, [{ reason: "shutdown", reconnect: true }]);

        const second = await startServer(t, { dataDir, port: first.port });
        await second.publishAll("project.1", numbered(2, 6));
        const seen = await settled(tab, second, "project.1", 6);
        assert.deepEqual(seen.data, numbered(1, 6));
        assert.deepEqual(seen.gaps, []);
    });

    test("positions come as empty events that keep the id, and to a plain fetch only when asked for", async (t) => {
        const server = await startServer(t);
        const tab = await subscribe(t, server.url, "project.1");
        const { positions, data } = await seenBy(tab);
        assert.equal(positions[0].data, "");
        assert.match(positions[0].id, ID);
        assert.deepEqual(data, []);

        const beginning = (query) => tab.evaluate(async (url) => {
            const stop = new AbortController();
            const answer = await fetch(url, { headers: { Accept: "text/event-stream" }, signal: stop.signal });
            const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
            const { value } = await reader.read();
            stop.abort();
            return value;
        }, `${server.url}/api/v1/events/project.1${query}`);
        assert.match(await beginning(""), /^retry: \d+\n: tidings\n$/);
        assert.match(await beginning("?position=id"), /^retry: \d+\n: tidings\nid: [0-9a-f]{16}-0-[0-9a-f]{8}\n\n$/);
    });
});
