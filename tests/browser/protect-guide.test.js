// The page's code in the manual's page on a protected hub, as printed, in Chromium.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BLANK, hasData, inPage, openTab, seenBy, serveHtml, shared } from "./harness/browsers.js";
import { readPage } from "./harness/manual.js";
import { startProtected } from "./harness/protected.js";
import { startProxy } from "./harness/proxy.js";

const READS = { subscribe: ["project.*"] };

const chromium = shared("chromium");

/** Opens an app of a listed origin that follows a channel with the manual's code; `makeToken` stands for its backend. */
async function openApp(t, makeToken) {
    const page = await serveHtml(t, BLANK);
    const server = await startProtected(t, { settings: { CORS_ORIGINS: new URL(page).origin } });
    const proxy = await startProxy(t, server.port);
    const tab = await openTab(t, chromium());
    await tab.exposeFunction("getToken", () => makeToken(server));
    await tab.goto(page);
    await tab.evaluate(
        async (hub, code) => {
            const { follow } = await import(`data:text/javascript,${encodeURIComponent(code)}`);
            window.seen = { data: [], gaps: 0, ends: [], tokens: 0, opened: 0 };
            const { EventSource: Own } = window;
            window.EventSource = class extends Own {
                constructor(url) {
                    super(url);
                    this.addEventListener("open", () => (window.seen.opened += 1));
                }
            };
            const getToken = () => {
                window.seen.tokens += 1;
                return window.getToken();
            };
            const onEvent = (event) => window.seen.data.push(event);
            const onGap = () => (window.seen.gaps += 1);
            const onEnd = ({ code }) => window.seen.ends.push(code);
            window.stop = follow(hub, ["project.1"], { getToken, onEvent, onGap, onEnd });
        },
        proxy.url,
        (await readPage("docs/manual/protect.md")).find("// live.js").code,
    );
    return { server, proxy, tab };
}

const isOpened = (tab, count) => inPage(tab, (want) => window.seen.opened >= want, count);

test("the manual's page goes on without a hole when its token expires and when it is cut", async (t) => {
    // The first token is short, those after it are not.
    let seconds = 4;
    const { server, proxy, tab } = await openApp(t, (server) => {
        const token = server.token(READS, seconds);
        seconds = 600;
        return token;
    });
    await isOpened(tab, 1);
    await server.publish("project.1", "1");
    await hasData(tab, 1);
    await isOpened(tab, 2);
    proxy.cut();
    await server.publishAll("project.1", ["2", "3"]);
    proxy.mend();
    await hasData(tab, 3);
    await server.publish("project.1", "4");
    await hasData(tab, 4);
    const { data, gaps, ends } = await seenBy(tab);
    assert.deepEqual({ data, gaps, ends }, { data: [1, 2, 3, 4], gaps: 0, ends: [] });
});

test("the manual's page stops where no retry helps, and says why", async (t) => {
    const { tab } = await openApp(t, (server) => server.token({ subscribe: ["other"] }));
    await inPage(tab, () => window.seen.ends.length > 0);
    const { ends, tokens, opened } = await seenBy(tab);
    assert.deepEqual({ ends, tokens, opened }, { ends: ["access_denied"], tokens: 1, opened: 0 });
});

test("the manual's page stops when its user is revoked", async (t) => {
    const { server, tab } = await openApp(t, (server) => server.token(READS));
    await isOpened(tab, 1);
    await server.revoke({ user: "me" });
    await inPage(tab, () => window.seen.ends.length > 0);
    const { ends, tokens } = await seenBy(tab);
    assert.deepEqual({ ends, tokens }, { ends: ["revoked"], tokens: 1 });
});
