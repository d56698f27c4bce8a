// The page shows events, losses and errors, in each browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { describeInEach, inPage } from "./harness/browsers.js";
import { fill, isShown, isState, isStatus, isText, openLive, shown, textOf } from "./harness/page.js";
import { until } from "./harness/server.js";

const WIDE = { width: 1280, height: 900 };
const NARROW = { width: 390, height: 844 };
const LOSSES = {
    trimmed: "the hub removed them before this page came back",
    lagged: "the hub removed them before this page had read them",
    epoch: "the hub's log began anew",
    diverged: "the hub's log went back, and went on with other events",
    ahead: "the hub lost its newest events",
    malformed: "the hub could not read where this page had stopped",
    later: "later",
};

describeInEach("the page", (_, browser) => {
    const open = (t, options) => openLive(t, browser(), { viewport: WIDE, ...options });

    test("named events are shown with their name and the pattern that was asked for", async (t) => {
        const { server, tab, complaints } = await open(t, { channel: "project.*" });
        const names = ["order.paid", "error", "open", "message", "tidings-like"];
        for (const event of names) await server.publish("project.7", `data of ${event}`, { event });
        await server.publish("project.8", "not kept", { store: "false" });
        await isShown(tab, names.length + 1);
        const rows = await tab.$$eval(".event", (found) =>
            found.map((row) => [...row.children].filter((part) => part.localName !== "time").map((part) => part.textContent)),
        );
        const named = (event) => (event === "message" ? [] : [event]);
        const expected = names.map((event, index) => [`#${index + 1}`, "project.*", ...named(event), `data of ${event}`]);
        assert.deepEqual(rows.reverse(), [...expected, ["not stored", "project.*", "not kept"]]);
        assert.equal((await server.connections())[0].connections, 1);
        assert.deepEqual(complaints, []);
    });

    test("each reason of a gap has a sentence of its own", async (t) => {
        const { tab } = await open(t);
        for (const [reason, text] of Object.entries(LOSSES)) {
            await tab.evaluate(async (reason) => {
                const { addGap } = await import("/page/view.js");
                addGap({ reason, channels: ["a", "b"] });
            }, reason);
            assert.equal(await textOf(tab, ".note.loss"), `Some events were lost: ${text} (a, b; ${reason}).`);
        }
    });

    test("an error goes away when what caused it changes", async (t) => {
        const { tab } = await open(t);
        await fill(tab, "#target", "$hub");
        await tab.click("#publish [type=submit]");
        await inPage(tab, () => document.getElementById("answer").classList.contains("bad"));
        await fill(tab, "#target", "project.1");
        assert.equal(await textOf(tab, "#answer"), "");
        await fill(tab, "#channel", "project..1");
        await tab.click("#watch [type=submit]");
        await isState(tab, "refused");
        await tab.type("#channel", "x");
        assert.equal(await textOf(tab, "#status"), "");
        await fill(tab, "#channel", "project.1");
        await tab.click("#watch [type=submit]");
        await isStatus(tab, "Watching project.1");
    });

    for (const viewport of [WIDE, NARROW]) {
        test(`nothing moves when the stream is cut and resumed, ${viewport.width} pixels wide`, async (t) => {
            const { tab } = await open(t, { viewport });
            const places = () =>
                tab.$$eval("section, #cut, #status, #publish, #events-title", (found) =>
                    found.map((part) => {
                        const { left, top, width, height } = part.getBoundingClientRect();
                        return [part.id || part.className, left + scrollX, top + scrollY, width, height];
                    }),
                );
            const before = await places();
            await tab.$eval("#cut", (button) => button.click());
            await tab.$eval("#numbered", (button) => button.click());
            await isText(tab, "waiting", "10 waiting");
            assert.deepEqual(await places(), before);
            await tab.$eval("#cut", (button) => button.click());
            await isStatus(tab, "10 events replayed, none missing");
            assert.deepEqual(await places(), before);
        });
    }

    test("a narrow window has Watch, Events, Publish and the snippets, one below the other", async (t) => {
        const { tab } = await open(t, { viewport: NARROW });
        const titles = await tab.$$eval("section", (found) =>
            found
                .map((part) => ({ top: part.getBoundingClientRect().top, title: part.querySelector("h2").textContent }))
                .sort((one, other) => one.top - other.top)
                .map(({ title }) => title),
        );
        assert.deepEqual(titles, ["Watch", "Events", "Publish", "From your code"]);
        const isWhole = () => document.documentElement.scrollWidth === document.documentElement.clientWidth;
        assert.ok(await tab.evaluate(isWhole), "nothing is wider than the window");
    });

    test("a paused list stands still and shows what came when it goes on; Clear empties it", async (t) => {
        const { server, tab } = await open(t);
        await server.publish("project.1", "1");
        await isShown(tab, 1);
        await tab.click("#pause");
        assert.equal(await tab.$eval("#pause", (button) => button.getAttribute("aria-pressed")), "true");
        await server.publishAll("project.1", ["2", "3"]);
        await isText(tab, "held", "2 held back");
        assert.deepEqual(await shown(tab), ["1"]);
        await tab.click("#pause");
        assert.deepEqual(await shown(tab), ["1", "2", "3"]);
        assert.equal(await textOf(tab, "#held"), "");
        await tab.click("#clear");
        assert.deepEqual(await shown(tab), []);
        assert.equal(await textOf(tab, "#received"), "0");
        await server.publish("project.1", "4");
        await isShown(tab, 1);
    });

    test("the page comes back by itself when the hub does not answer for a while", async (t) => {
        const { server, proxy, tab } = await open(t, { channel: "project.*", isProxied: true });
        await server.publish("project.1", "before");
        await isShown(tab, 1);
        proxy.cut();
        await isState(tab, "resuming");
        await server.publish("project.1", "missed");
        proxy.mend();
        await isShown(tab, 2);
        await isState(tab, "live");
        assert.deepEqual(await shown(tab), ["before", "missed"]);
        await until("one stream is open", async () => (await server.connections())[0]?.connections === 1);
    });
});
