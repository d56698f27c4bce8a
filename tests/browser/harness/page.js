// The page at `/` for tests.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { inPage, openTab } from "./browsers.js";
import { startProxy } from "./proxy.js";
import { startServer } from "./server.js";

export const WIDE = { width: 1200, height: 860 };
export const NARROW = { width: 360, height: 780 };

/** Opens the page on a channel, and records all errors of the browser. */
export async function visitPage(t, browser, base, channel, viewport = WIDE) {
    const tab = await openTab(t, browser);
    const complaints = [];
    tab.on("console", (message) => ["error", "warn"].includes(message.type()) && complaints.push(message.text()));
    tab.on("pageerror", (error) => complaints.push(error.message));
    await tab.exposeFunction("noteViolation", (what) => complaints.push(`policy: ${what}`));
    await tab.evaluateOnNewDocument(() => {
        document.addEventListener("securitypolicyviolation", (event) => window.noteViolation(event.violatedDirective));
    });
    await tab.setViewport(viewport);
    await tab.goto(`${base}/#${channel}`);
    return { tab, complaints };
}

/**
 * Opens the page of a hub on a channel, once it is live. Starts the hub unless `server` is given; with `isProxied` the network
 * between them can break.
 */
export async function openLive(t, browser, { server, settings, channel = "project.1", viewport, isProxied } = {}) {
    server ??= await startServer(t, { settings });
    const proxy = isProxied ? await startProxy(t, server.port) : undefined;
    const page = await visitPage(t, browser, (proxy ?? server).url, channel, viewport);
    await inPage(page.tab, () => !document.getElementById("cut").disabled);
    return { server, proxy, ...page };
}

/** Cuts the stream, and publishes ten events that wait for it. */
export async function cutAndPublishTen(tab) {
    await tab.click("#cut");
    await tab.click("#numbered");
    await isText(tab, "waiting", "10 waiting");
}

/** Resumes the stream after `cutAndPublishTen`. */
export async function resumeTen(tab) {
    await tab.click("#cut");
    await isStatus(tab, "10 events replayed, none missing");
}

export const textOf = (tab, selector) => tab.$eval(selector, (found) => found.textContent);
export const stateOf = (tab) => tab.evaluate(() => document.body.dataset.state);
/** The rows that the page shows, oldest first. */
export const shown = (tab, selector = ".event") =>
    tab.$$eval(`${selector} pre`, (found) => found.map((data) => data.textContent).reverse());
export const isShown = (tab, count) =>
    inPage(tab, (want) => document.querySelectorAll(".event").length === want, count);
export const isState = (tab, state) => inPage(tab, (want) => document.body.dataset.state === want, state);
export const isText = (tab, id, text) =>
    inPage(tab, (id, want) => document.getElementById(id).textContent === want, id, text);
export const isStatus = (tab, text) => isText(tab, "status", text);

export async function fill(tab, selector, text) {
    await tab.$eval(selector, (field) => (field.value = ""));
    await tab.type(selector, text);
}

/** Saves a screenshot if `SCREENSHOTS` names a folder. */
export async function screenshot(tab, name) {
    const folder = process.env.SCREENSHOTS;
    if (!folder) return;
    await mkdir(folder, { recursive: true });
    await tab.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}
