import { readFile } from "node:fs/promises";
import puppeteer from "puppeteer-core";
import { event, fault, NAMES, open } from "../protocol.js";

const ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    // It must reach only the hub.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];
/** Delay before the page reconnects. */
const RECONNECT_MS = 300;

/** Runs in the page. */
async function inPage(source, url, names, reconnectDelay) {
    const { SSE } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    const stream = new SSE(url, { autoReconnect: true, reconnectDelay });
    stream.addEventListener("open", () => window.open_());
    stream.addEventListener("error", (it) => window.fault_(`lost, ${it.responseCode}`));
    for (const name of names) stream.addEventListener(name, (it) => window.event_(name, it.data, it.lastEventId));
}

// The library reads with a page's XMLHttpRequest. The browser ends with the pipe, and so with this process.
export default async function read(url) {
    const browser = await puppeteer.launch({ executablePath: "/usr/bin/chromium", pipe: true, args: ARGUMENTS });
    const page = await browser.newPage();
    await page.exposeFunction("open_", open);
    await page.exposeFunction("event_", event);
    await page.exposeFunction("fault_", fault);
    await page.goto(new URL("/healthz", url).href);
    const source = await readFile(new URL(import.meta.resolve("sse.js")), "utf8");
    await page.evaluate(inPage, source, url, NAMES, RECONNECT_MS);
}
