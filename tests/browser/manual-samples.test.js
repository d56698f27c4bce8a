// Every sample of the manual that reads events, with event names that an EventSource also uses.

import assert from "node:assert/strict";
import { test } from "node:test";
import { BLANK, describeInEach, inPage, openTab, serveHtml } from "./harness/browsers.js";
import { readPage } from "./harness/manual.js";
import { startProtected } from "./harness/protected.js";
import { startServer } from "./harness/server.js";

const NAMES = [undefined, "error", "open", "message", "error", undefined];
/** The unnamed events, and those with the name `message`. */
const READ = [0, 3, 5];

const SAMPLES = [
    { page: "README.md", text: "console.log(JSON.parse(event.data))", code: (code) => code.replace("console.log", "window.heard.push") },
    { page: "docs/manual.md", text: 'console.log("Received:"', code: (code) => code.replace('console.log("Received:", ', "window.heard.push(") },
    { page: "docs/manual.md", text: "apply(JSON.parse(event.data))", code: (code) => code.replace("apply(", "window.heard.push(") },
    {
        page: "docs/manual.md",
        text: "handlers: present",
        code: (code) => `
            const eventSource = new EventSource("/api/v1/events/project.123");
            const handlers = [(event) => window.heard.push(JSON.parse(event.data))];
            let kept = [];
            const get = () => ({ handlers: kept });
            const addHandlers = (added) => (kept = [...kept, ...added]);
            eventSource.addEventListener("message", (event) => kept.forEach((handler) => handler(event)));
            ${code}`,
    },
];

/** Counts opened streams, and replaces the printed origin by the page's. */
function watchSources() {
    Object.assign(window, { heard: [], made: 0, opened: 0, reload: () => window.heard.push("gap") });
    const { EventSource: Own } = window;
    window.EventSource = class extends Own {
        constructor(url, options) {
            super(String(url).replace("http://localhost:8000", location.origin), options);
            window.made += 1;
            this.addEventListener("open", (event) => event instanceof MessageEvent || (window.opened += 1));
        }
    };
}

const publishNames = async (server, channel) => {
    for (const [data, event] of NAMES.entries()) await server.publish(channel, `${data}`, event && { event });
};

describeInEach("samples of the manual", (_, browser) => {
    for (const { page, text, code } of SAMPLES) {
        test(`the sample with ${text} of ${page} stays on its stream and reads what is for it`, async (t) => {
            const server = await startServer(t);
            const sample = code((await readPage(page)).find(text).code);
            const tab = await openTab(t, browser());
            await tab.goto(`${server.url}/healthz`);
            await tab.evaluate(watchSources);
            await tab.evaluate((sample) => Function(sample)(), sample);
            await inPage(tab, () => window.opened === 1);
            await publishNames(server, "project.123");
            await inPage(tab, (last) => window.heard.includes(last), READ.at(-1));
            const found = await tab.evaluate(() => ({ heard: window.heard, made: window.made, opened: window.opened }));
            assert.deepEqual(found, { heard: READ, made: 1, opened: 1 });
        });
    }

    test("live.js stays on its stream and reads what is for it", async (t) => {
        const page = await serveHtml(t, BLANK);
        const server = await startProtected(t, { settings: { CORS_ORIGINS: new URL(page).origin } });
        const { code } = (await readPage("docs/manual/protect.md")).find("// live.js");
        const tab = await openTab(t, browser());
        await tab.goto(page);
        await tab.evaluate(watchSources);
        await tab.evaluate(
            async (hub, code, token) => {
                const { follow } = await import(`data:text/javascript,${encodeURIComponent(code)}`);
                const onEvent = (event) => window.heard.push(event);
                const onGap = () => window.heard.push("gap");
                follow(hub, ["project.1"], { getToken: () => token, onEvent, onGap, onEnd: ({ code }) => window.heard.push(code) });
            },
            server.url,
            code,
            server.token({ subscribe: ["project.*"] }),
        );
        await inPage(tab, () => window.opened === 1);
        await publishNames(server, "project.1");
        await inPage(tab, (last) => window.heard.includes(last), READ.at(-1));
        const found = await tab.evaluate(() => ({ heard: window.heard, made: window.made, opened: window.opened }));
        assert.deepEqual(found, { heard: READ, made: 1, opened: 1 });
    });
});
