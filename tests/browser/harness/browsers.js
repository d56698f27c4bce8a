// Starts the two browsers, without a sandbox for root and without background traffic.

import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, describe } from "node:test";
import puppeteer from "puppeteer-core";

/** An empty page, for which the browser requests no icon. */
export const BLANK = '<!doctype html><title>A page</title><link rel="icon" href="data:,">';

const CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-component-update",
    "--disable-background-networking",
    "--no-first-run",
];

const NO_OTHER_HOST = "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1";

const FIREFOX_PREFERENCES = {
    "app.normandy.enabled": false,
    "app.update.auto": false,
    "app.update.disabledForTesting": true,
    "browser.contentblocking.features.strict": "",
    "browser.newtabpage.enabled": false,
    "browser.ping-centre.telemetry": false,
    "browser.region.network.url": "",
    "browser.safebrowsing.malware.enabled": false,
    "browser.safebrowsing.phishing.enabled": false,
    "browser.search.update": false,
    "browser.topsites.contile.enabled": false,
    "captivedetect.canonicalURL": "",
    "datareporting.healthreport.uploadEnabled": false,
    "datareporting.policy.dataSubmissionEnabled": false,
    "dom.push.connection.enabled": false,
    "extensions.getAddons.cache.enabled": false,
    "extensions.systemAddon.update.enabled": false,
    "extensions.update.enabled": false,
    "geo.provider.network.url": "",
    "media.gmp-manager.updateEnabled": false,
    "network.captive-portal-service.enabled": false,
    "network.connectivity-service.enabled": false,
    "network.dns.disablePrefetch": true,
    "network.prefetch-next": false,
    "network.trr.mode": 5,
    "services.settings.server": "data:,#remote-settings-dummy/v1",
    "toolkit.telemetry.enabled": false,
    "toolkit.telemetry.server": "",
};

/**
 * Starts `chromium` or `firefox`. Chromium resolves no host names but those of `hosts`, and may be another `program`. The
 * caller closes it.
 */
export async function launch(name, { hosts = [], program } = {}) {
    const browser = await puppeteer.launch(name === "firefox" ? firefox() : chromium(hosts, program));
    const child = browser.process();
    // A helper process, such as Firefox's for crashes, may outlive its browser for a while;
    // the tests would wait for its ends of the pipes.
    child.once("exit", () => [child.stdout, child.stderr].forEach((pipe) => pipe?.destroy()));
    return browser;
}

/** Starts a browser for all tests of a file or suite. Returns a function that returns it. */
export function shared(name) {
    let browser;
    before(async () => (browser = await launch(name)));
    after(() => browser?.close());
    return () => browser;
}

/** Describes a suite once for each browser; `define` gets the browser's name and a function that returns it. */
export function describeInEach(title, define) {
    for (const name of ["chromium", "firefox"]) describe(`${title} in ${name}`, () => define(name, shared(name)));
}

function chromium(hosts, program) {
    return {
        browser: "chrome",
        executablePath: program ?? process.env.CHROMIUM_BIN ?? "/usr/bin/chromium",
        headless: true,
        // Pipes also reach a Chromium in another network namespace.
        pipe: Boolean(program),
        args: [...CHROMIUM_ARGUMENTS, `--host-resolver-rules=${[...hosts, NO_OTHER_HOST].join(", ")}`],
    };
}

function firefox() {
    return {
        browser: "firefox",
        executablePath: process.env.FIREFOX_BIN ?? "/usr/bin/firefox-esr",
        headless: true,
        extraPrefsFirefox: FIREFOX_PREFERENCES,
    };
}

/** Serves one page on its own origin; ends with the test. */
export async function serveHtml(test, html) {
    const web = createServer((request, response) => {
        const isPage = request.url === "/";
        response.writeHead(isPage ? 200 : 404, { "Content-Type": "text/html; charset=utf-8", Connection: "close" });
        response.end(isPage ? html : "");
    });
    web.listen(0, "127.0.0.1");
    await once(web, "listening");
    test.after(() => web.close());
    return `http://127.0.0.1:${web.address().port}/`;
}

/** Opens a tab for one test. */
export async function openTab(test, browser) {
    const tab = await browser.newPage();
    test.after(() => tab.isClosed() || tab.close());
    return tab;
}

/** What a page noted in `window.seen`. */
export const seenBy = (tab) => tab.evaluate(() => window.seen);
/** Waits until the page has noted so many events. */
export const hasData = (tab, count) => inPage(tab, (want) => window.seen.data.length >= want, count);

/** Waits until a function of the page returns a true value; polls, because a background tab paints nothing. */
export function inPage(tab, condition, ...values) {
    return tab.waitForFunction(condition, { polling: 20, timeout: 15_000 }, ...values);
}
