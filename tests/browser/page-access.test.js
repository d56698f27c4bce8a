// Access to the page by keyboard, its contrast and motion; and the files that it loads.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { describeInEach, inPage, launch } from "./harness/browsers.js";
import { cutAndPublishTen, isShown, isState, openLive, visitPage } from "./harness/page.js";
import { startServer } from "./harness/server.js";

const ROOT = join(import.meta.dirname, "../..");
const CONTRAST_MIN = 4.5;

/** The texts of the page whose contrast is too low, with their ratios. */
function lowContrast(minimum) {
    const numbers = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
    const luminance = ([red, green, blue]) => {
        const [r, g, b] = [red, green, blue].map((part) => {
            const share = part / 255;
            return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (part) => {
        const colour = numbers(getComputedStyle(part).backgroundColor);
        return colour.length === 3 || colour[3] > 0 ? colour : ground(part.parentElement);
    };
    const hasText = (part) => [...part.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const isSeen = (part) => part.checkVisibility() && !part.disabled && (hasText(part) || part.value);
    return [...document.body.querySelectorAll("*")].filter(isSeen).flatMap((part) => {
        const [one, other] = [numbers(getComputedStyle(part).color), ground(part)].map(luminance);
        const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        return ratio < minimum ? [`${part.localName}#${part.id}.${part.className}: ${ratio.toFixed(2)}`] : [];
    });
}

describeInEach("access to the page", (name, browser) => {
    const open = (t) => openLive(t, browser());

    test("every control is reached by the keyboard, in the order of the page, and shows the focus", async (t) => {
        const { tab } = await open(t);
        const reached = [];
        for (let step = 0; step < 30 && reached.at(-1) !== "snippet-publish"; step += 1) {
            await tab.keyboard.press("Tab");
            reached.push(
                await tab.evaluate(() => {
                    const { activeElement: focused } = document;
                    const shown = focused.matches("[type=radio]") ? focused.nextElementSibling : focused;
                    const hasOutline = getComputedStyle(shown).outlineStyle !== "none";
                    return hasOutline ? focused.id || focused.name || focused.textContent : `no focus on ${focused.id}`;
                }),
            );
        }
        const expected = ["channel", "cut", "pause", "events", "target", "event", "priority", "data", "numbered", "language"];
        const order = reached.filter((id) => expected.includes(id));
        assert.deepEqual(order, expected);
        assert.equal(reached.at(-1), "snippet-publish");
        assert.deepEqual(reached.filter((id) => id.startsWith("no focus")), []);
    });

    test("the language of the snippets is chosen by arrow keys", async (t) => {
        const { tab } = await open(t);
        await tab.focus("[value=javascript]");
        await tab.keyboard.press("ArrowRight");
        await inPage(tab, () => document.getElementById("snippet-watch").textContent.includes("urlopen"));
    });

    test("the page loads nothing from elsewhere, and links to the manual of its version", async (t) => {
        const { server, tab } = await open(t);
        const loaded = await tab.evaluate(() => performance.getEntriesByType("resource").map((entry) => entry.name));
        assert.ok(loaded.length >= 7, loaded.join());
        assert.deepEqual(loaded.filter((url) => !url.startsWith(`${server.url}/`)), []);
        const manifest = await readFile(join(ROOT, "Cargo.toml"), "utf8");
        const [, version] = /^version = "(.+)"/m.exec(manifest);
        const [, repository] = /^repository = "(.+)"/m.exec(manifest);
        assert.equal(await tab.$eval(".version", (part) => part.textContent), `version ${version}`);
        const links = await tab.$$eval("nav a", (found) => found.map((link) => link.href));
        const pages = links.filter((link) => link.startsWith(`${repository}/blob/main/`));
        assert.equal(pages.length, 2);
        for (const page of pages) assert.ok(existsSync(join(ROOT, page.slice(`${repository}/blob/main/`.length))), page);
        const own = links.filter((link) => !pages.includes(link));
        assert.deepEqual(own, [`${server.url}/openapi.json`]);
        assert.equal((await fetch(own[0])).status, 200);
    });

    // Firefox's driver cannot choose a colour scheme.
    const schemes = name === "chromium" ? ["light", "dark"] : ["light"];
    for (const scheme of schemes) {
        test(`every text can be read in the ${scheme} scheme`, async (t) => {
            const { server, tab } = await open(t);
            if (name === "chromium") await tab.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
            await server.publish("project.1", "1", { event: "named" });
            await isShown(tab, 1);
            assert.deepEqual(await tab.evaluate(lowContrast, CONTRAST_MIN), []);
            await cutAndPublishTen(tab);
            assert.deepEqual(await tab.evaluate(lowContrast, CONTRAST_MIN), []);
            await tab.click("#cut");
            await isShown(tab, 11);
            assert.deepEqual(await tab.evaluate(lowContrast, CONTRAST_MIN), []);
            await tab.evaluate(() => (location.hash = "project..1"));
            await isState(tab, "refused");
            assert.deepEqual(await tab.evaluate(lowContrast, CONTRAST_MIN), []);
        });
    }
});

test("nothing moves for people who want no motion", async (t) => {
    const browser = await launch("chromium");
    t.after(() => browser.close());
    const server = await startServer(t);
    const { tab } = await visitPage(t, browser, server.url, "project.1");
    await isState(tab, "live");
    const running = () => tab.evaluate(() => document.getAnimations().length);
    assert.ok((await running()) > 0);
    await tab.emulateMediaFeatures([{ name: "prefers-reduced-motion", value: "reduce" }]);
    assert.equal(await running(), 0);
});
