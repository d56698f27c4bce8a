// The page at `/` for a new user: all of it in Chromium, its main path also in Firefox.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inPage, launch, shared } from "./harness/browsers.js";
import {
    NARROW, cutAndPublishTen, fill, isShown, isState, isStatus, isText, openLive, resumeTen, screenshot, shown,
    stateOf, textOf,
} from "./harness/page.js";
import { startServer, until } from "./harness/server.js";

const chromium = shared("chromium");

/** Starts a hub and opens its page, in Chromium unless another browser is named. */
const openPage = (t, { browser = chromium(), ...options } = {}) => openLive(t, browser, options);

test("the page watches a channel and shows what is published to it", async (t) => {
    const { server, tab, complaints } = await openPage(t);
    assert.equal(await stateOf(tab), "live");

    await fill(tab, "#data", "by button");
    await tab.click("#publish [type=submit]");
    await isShown(tab, 1);
    await fill(tab, "#data", "by keys");
    await tab.keyboard.down("Control");
    await tab.keyboard.press("Enter");
    await tab.keyboard.up("Control");
    await isShown(tab, 2);
    await server.publish("project.1", "by a program");
    await isShown(tab, 3);
    await fill(tab, "#event", "order.paid");
    await tab.select("#priority", "critical");
    await tab.click("#publish [type=submit]");
    await isShown(tab, 4);

    assert.deepEqual(await shown(tab), ["by button", "by keys", "by a program", "by keys"]);
    const parts = await tab.$$eval(".event:first-child > :not(time)", (found) => found.map((part) => part.textContent));
    assert.deepEqual(parts, ["#4", "project.1", "order.paid", "by keys"]);
    assert.equal(await textOf(tab, "#received"), "4");
    assert.equal(await textOf(tab, "#answer"), "Stored at #4");
    assert.deepEqual(complaints, []);
});

test("a stream that was cut on the page resumes with every event once and in order", async (t) => {
    const { server, tab, complaints } = await openPage(t);
    await server.publish("project.1", "before");
    await isShown(tab, 1);

    await tab.click("#cut");
    await until("the hub sees the stream close", async () => (await server.connections()).length === 0);
    assert.equal(await stateOf(tab), "cut");
    await tab.click("#numbered");
    await isText(tab, "answer", "Stored at #2 to #11");
    await server.publish("project.1", "named", { event: "from.elsewhere" });
    await server.publish("project.2", "of another channel");
    await isText(tab, "waiting", "11 waiting");
    assert.equal(await textOf(tab, "#cut"), "Resume");
    await screenshot(tab, "page-wide-cut");

    await tab.click("#cut");
    await isStatus(tab, "11 events replayed, none missing");
    const numbered = Array.from({ length: 10 }, (_, index) => `{"number":${index + 1}}`);
    assert.deepEqual(await shown(tab), ["before", ...numbered, "named"]);
    assert.deepEqual(await shown(tab, ".replayed"), [...numbered, "named"]);

    await server.publish("project.1", "after");
    await isShown(tab, 13);
    assert.deepEqual(await shown(tab, ".replayed"), [...numbered, "named"]);
    assert.equal(await stateOf(tab), "live");
    assert.deepEqual(complaints, []);
    await screenshot(tab, "page-wide");
});

test("the page cuts and resumes in Firefox, too", async (t) => {
    const browser = await launch("firefox");
    try {
        const { tab, complaints } = await openPage(t, { browser });
        await cutAndPublishTen(tab);
        await resumeTen(tab);
        assert.equal((await shown(tab, ".replayed")).length, 10);
        assert.deepEqual(complaints, []);
        await tab.close();
    } finally {
        await browser.close();
    }
});

test("a page that is cut before its first event resumes from where it began", async (t) => {
    const server = await startServer(t);
    await server.publish("project.1", "before the page came");
    const { tab } = await openPage(t, { server });
    await tab.click("#cut");
    await server.publish("project.1", "first");
    await tab.click("#cut");
    await isStatus(tab, "1 event replayed, none missing");
    assert.deepEqual(await shown(tab), ["first"]);
});

test("the page says when what it missed is gone", async (t) => {
    const { server, tab } = await openPage(t, { settings: { LOG_RETENTION_EVENTS: "5" } });
    await server.publish("project.1", "seen");
    await isShown(tab, 1);
    const [seen] = (await server.history("project.1")).events;
    await tab.click("#cut");
    await server.publishAll("project.1", Array(50).fill("missed"));
    const kept = await until("the log trims", async () => {
        const page = await server.history("project.1", { after: seen.id });
        return page.gap && page.events.length === 5 && page.events;
    });
    await tab.click("#cut");
    await isStatus(tab, "5 events replayed, some were lost (trimmed)");
    assert.deepEqual(await shown(tab), ["seen", ...kept.map(({ data }) => data)]);
    const notes = await tab.$$eval(".note.loss", (found) => found.map((note) => note.textContent));
    assert.equal(notes.at(-1), "Some events were lost: the hub removed them before this page came back (project.1; trimmed).");
});

test("the page tells what the browser fetched after a broken connection", async (t) => {
    const { server, proxy, tab } = await openPage(t, { isProxied: true });
    await server.publish("project.1", "before");
    await isShown(tab, 1);
    proxy.cut();
    await isState(tab, "resuming");
    await server.publishAll("project.1", ["1", "2", "3"]);
    proxy.mend();
    await isStatus(tab, "3 events replayed, none missing");
    assert.deepEqual(await shown(tab, ".replayed"), ["1", "2", "3"]);
    assert.deepEqual(await shown(tab), ["before", "1", "2", "3"]);
});

test("the page fits a window of 360 pixels", async (t) => {
    const long = `project.${"long-name-".repeat(12)}end`;
    const { server, tab, complaints } = await openPage(t, { channel: long, viewport: NARROW });
    const width = () => tab.evaluate(() => document.documentElement.scrollWidth);
    assert.equal(await width(), NARROW.width);
    await server.publish(long, "word".repeat(200));
    await server.publish(long, JSON.stringify({ list: [{ key: "x".repeat(300) }] }));
    await isShown(tab, 2);
    await cutAndPublishTen(tab);
    assert.equal(await width(), NARROW.width);
    await resumeTen(tab);
    assert.equal(await width(), NARROW.width);
    assert.deepEqual(complaints, []);
});

test("cutting and resuming works in a narrow, dark window", async (t) => {
    const { tab } = await openPage(t, { viewport: NARROW });
    await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: "dark" }]);
    await tab.click("#publish [type=submit]");
    await isShown(tab, 1);
    await cutAndPublishTen(tab);
    await screenshot(tab, "page-narrow-cut");
    await resumeTen(tab);
    await screenshot(tab, "page-narrow");
});

test("a bad channel shows what the hub says of it, to watch and to publish", async (t) => {
    const { server, tab } = await openPage(t);
    const said = await fetch(`${server.url}/api/v1/events/project..1`).then((answer) => answer.json());
    await fill(tab, "#channel", "project..1");
    await tab.click("#watch [type=submit]");
    await isStatus(tab, said.detail);
    assert.equal(await stateOf(tab), "refused");

    await fill(tab, "#target", "$hub");
    await tab.click("#publish [type=submit]");
    await inPage(tab, () => document.getElementById("answer").textContent.includes("$hub"));
    assert.ok(await tab.$eval("#answer", (answer) => answer.classList.contains("bad")));

    await fill(tab, "#channel", "project.1");
    await tab.click("#watch [type=submit]");
    await isStatus(tab, "Watching project.1");
});

test("markup in names and data stays text", async (t) => {
    const { tab, complaints } = await openPage(t);
    const markup = `<img src=x onerror="document.title='run'"><script>document.title='run'</script>`;
    await fill(tab, "#event", markup);
    await fill(tab, "#data", markup);
    await tab.click("#publish [type=submit]");
    await isShown(tab, 1);
    assert.deepEqual(await shown(tab), [markup]);
    assert.equal(await textOf(tab, ".event .name"), markup);
    assert.equal(await tab.$$eval("#events img, #events script", (found) => found.length), 0);
    assert.equal(await tab.title(), "project.1 · Tidings");
    assert.deepEqual(complaints, []);
});

test("data that is JSON is laid out only where that changes nothing of it", async (t) => {
    const { server, tab } = await openPage(t);
    const long = { list: Array.from({ length: 20 }, (_, index) => index), text: "a\nb" };
    const imprecise = `{"large":12345678901234567890,"padding":"${"x".repeat(80)}"}`;
    await server.publishAll("project.1", [JSON.stringify(long), imprecise, '{"short":1}', "not JSON"]);
    await isShown(tab, 4);
    assert.deepEqual(await shown(tab), [JSON.stringify(long, null, 2), imprecise, '{"short":1}', "not JSON"]);
});

test("an event called like one of the browser's own is shown as any other", async (t) => {
    const { server, tab } = await openPage(t);
    for (const event of ["open", "error", "message"]) await server.publish("project.1", event, { event });
    await isShown(tab, 3);
    assert.deepEqual(await shown(tab), ["open", "error", "message"]);
    assert.equal(await stateOf(tab), "live");
});

test("a link with a channel opens that channel, and a new hash changes it", async (t) => {
    const { server, tab } = await openPage(t, { channel: "user:7:messages" });
    assert.equal(await tab.$eval("#channel", (field) => field.value), "user:7:messages");
    await tab.evaluate(() => (location.hash = "project.*"));
    await isStatus(tab, "Watching project.*");
    await server.publish("project.9", "by pattern");
    await isShown(tab, 1);
    assert.deepEqual((await server.connections()).map(({ channel }) => channel), ["project.*"]);
});

test("every control of the page has a name and is reached by the keyboard", async (t) => {
    const { tab } = await openPage(t);
    const nameless = await tab.$$eval("input, select, textarea, button, [tabindex]", (found) =>
        found
            .filter((part) => !(part.labels?.[0] ?? part).textContent.trim() && !part.ariaLabel)
            .map((part) => part.id),
    );
    assert.deepEqual(nameless, []);
    const reached = new Set();
    for (let step = 0; step < 30; step += 1) {
        await tab.keyboard.press("Tab");
        reached.add(await tab.evaluate(() => document.activeElement.id || document.activeElement.textContent));
    }
    const controls = ["channel", "cut", "target", "event", "priority", "data", "numbered", "events", "pause", "snippet-watch"];
    for (const id of controls) assert.ok(reached.has(id), id);
});
