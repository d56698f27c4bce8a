// A hub that restarts behind every proxy of the manual, and pages whose EventSource ends for good at any status but 200.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BLANK, describeInEach, inPage, openTab, serveHtml } from "./harness/browsers.js";
import { PROXIES, quietPort } from "./harness/recipes.js";
import { folder, numbered, startServer } from "./harness/server.js";

const SOURCES = 3;
const AWAY_MS = 6000;

describeInEach("a restart", (_, browser) => {
    /** Opens a page with some EventSources through a proxy, and waits until they are open. */
    async function subscribe(t, { start, servesPages }, hub) {
        const proxy = await start(t, hub);
        const tab = await openTab(t, browser());
        await tab.goto(servesPages ? proxy : await serveHtml(t, BLANK));
        await tab.evaluate(
            (url, count) => {
                window.seen = Array.from({ length: count }, () => ({ opened: 0, data: [], gaps: 0 }));
                window.sources = window.seen.map((seen) => {
                    const source = new EventSource(url);
                    source.onopen = () => (seen.opened += 1);
                    source.onmessage = (event) => seen.data.push(event.data);
                    source.addEventListener("tidings.gap", () => (seen.gaps += 1));
                    return source;
                });
            },
            `${proxy}/api/v1/events/project.1`,
            SOURCES,
        );
        await inPage(tab, () => window.seen.every(({ opened }) => opened > 0));
        return tab;
    }

    test("every page comes back through every proxy after six seconds, and nothing is lost", async (t) => {
        const [port, dataDir] = [await quietPort(), await folder(t)];
        const options = { port, dataDir, settings: { SHUTDOWN_WINDOW: "1s" } };
        const first = await startServer(t, options);
        const tabs = [];
        for (const proxy of PROXIES) tabs.push(await subscribe(t, proxy, `127.0.0.1:${port}`));
        for (const data of numbered(0, 4)) await first.publish("project.1", data);
        const haveData = (tab, want) => inPage(tab, (want) => window.seen.every(({ data }) => data.length >= want), want);
        for (const tab of tabs) await haveData(tab, 5);

        assert.equal(await first.stop(), 0);
        await new Promise((over) => setTimeout(over, AWAY_MS));
        const second = await startServer(t, options);
        for (const data of numbered(5, 9)) await second.publish("project.1", data);

        const outcomes = {};
        for (const [index, tab] of tabs.entries()) {
            await haveData(tab, 10).catch(() => {});
            outcomes[PROXIES[index].name] = await tab.evaluate(() =>
                window.seen.map(({ data, gaps }, index) => ({ data, gaps, isOpen: window.sources[index].readyState === 1 })),
            );
        }
        const whole = { data: numbered(0, 9), gaps: 0, isOpen: true };
        const expected = PROXIES.map((proxy) => [proxy.name, Array(SOURCES).fill(whole)]);
        assert.deepEqual(outcomes, Object.fromEntries(expected));
    });
});
