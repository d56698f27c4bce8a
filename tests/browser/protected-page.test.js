// The page at `/` of a hub with credentials, and its protection against other pages; in Chromium.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inPage, openTab, serveHtml, shared } from "./harness/browsers.js";
import {
    NARROW, cutAndPublishTen, fill, isShown, isState, isStatus, isText, resumeTen, screenshot, shown, stateOf,
    textOf, visitPage,
} from "./harness/page.js";
import { startProtected } from "./harness/protected.js";
import { startProxy } from "./harness/proxy.js";
import { startServer, until } from "./harness/server.js";

const BOTH = { subscribe: ["project.*"], publish: ["project.*"] };

const chromium = shared("chromium");

const isLive = (tab) => isState(tab, "live");
const advice = (tab) => tab.$eval("#advice", (found) => !found.hidden && found.querySelector("pre").textContent);

/** Pastes a token and uses it, as a visitor does. */
async function paste(tab, token) {
    await inPage(tab, () => document.getElementById("credentials-details").open);
    await fill(tab, "#token", token);
    await tab.click("#credentials [type=submit]");
}

/** Opens the page of a hub with credentials, with a valid token. */
async function openWithToken(t, server, token, base = server.url) {
    const page = await visitPage(t, chromium(), base, "project.1");
    await isState(page.tab, "refused");
    await paste(page.tab, token);
    await isLive(page.tab);
    return page;
}

test("the page of a protected hub says why it is refused, and works with a token that is pasted", async (t) => {
    const server = await startProtected(t);
    const { tab } = await visitPage(t, chromium(), server.url, "project.1");
    const addresses = [];
    tab.on("request", (request) => addresses.push(request.url()));
    await isState(tab, "refused");
    const said = await fetch(`${server.url}/api/v1/events/project.1`).then((answer) => answer.json());
    assert.equal(said.code, "credentials_missing");
    await isStatus(tab, said.detail);
    const command = "tidings token --sub me --subscribe 'project.1' --publish 'project.1'";
    assert.equal(await advice(tab), command);
    await tab.click("#publish [type=submit]");
    await isText(tab, "answer", said.detail);
    await screenshot(tab, "protected-refused");

    const token = server.token(BOTH);
    await paste(tab, token);
    await isStatus(tab, "Watching project.1");
    assert.equal(await advice(tab), false);
    await fill(tab, "#data", "by button");
    await tab.click("#publish [type=submit]");
    await isShown(tab, 1);
    await server.publish("project.1", "by the backend");
    await isShown(tab, 2);
    assert.deepEqual(await shown(tab), ["by button", "by the backend"]);
    await screenshot(tab, "protected-live");

    assert.ok(addresses.length > 0);
    assert.deepEqual(addresses.filter((address) => address.includes(token)), []);
    const kept = await tab.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, location.href]));
    assert.ok(!kept.includes(token), kept);
    assert.ok(!server.log().includes(token));
});

test("the page says what a token lacks, and how to make one that has it", async (t) => {
    const server = await startProtected(t);
    const { tab } = await visitPage(t, chromium(), server.url, "project.1");
    await isState(tab, "refused");
    await paste(tab, `${server.token(BOTH)}x`);
    await isStatus(tab, "the credentials are invalid; get new ones");
    await paste(tab, server.token({ subscribe: ["other"] }));
    await isStatus(tab, "Access denied");
    assert.equal(await advice(tab), "tidings token --sub me --subscribe 'project.1' --publish 'project.1'");
    await paste(tab, server.token({ subscribe: ["project.1"] }));
    await isLive(tab);
    await tab.click("#publish [type=submit]");
    await isText(tab, "answer", "Access denied");
    assert.equal(await stateOf(tab), "live");
});

test("the page goes on without a hole when its token has expired and a new one is pasted", async (t) => {
    const server = await startProtected(t);
    const { tab } = await openWithToken(t, server, server.token(BOTH, 5));
    await server.publish("project.1", "before");
    await isShown(tab, 1);
    await isState(tab, "refused");
    await isStatus(tab, "the token has expired; get a new one");
    const notes = await tab.$$eval(".note", (found) => found.map((note) => note.textContent));
    assert.deepEqual(notes, ["The hub ended the stream: token_expired"]);
    await server.publishAll("project.1", ["1", "2", "3"]);
    await paste(tab, server.token(BOTH));
    await isStatus(tab, "3 events replayed, none missing");
    assert.deepEqual(await shown(tab), ["before", "1", "2", "3"]);
    assert.deepEqual(await shown(tab, ".replayed"), ["1", "2", "3"]);
    await screenshot(tab, "protected-resumed");
});

test("the page of a protected hub comes back from a broken connection by itself", async (t) => {
    const server = await startProtected(t);
    const proxy = await startProxy(t, server.port);
    const { tab } = await openWithToken(t, server, server.token(BOTH), proxy.url);
    await server.publish("project.1", "before");
    await isShown(tab, 1);
    proxy.cut();
    await isState(tab, "resuming");
    await server.publishAll("project.1", ["1", "2", "3"]);
    proxy.mend();
    await isStatus(tab, "3 events replayed, none missing");
    assert.deepEqual(await shown(tab), ["before", "1", "2", "3"]);
});

test("a stream that was cut on the page of a protected hub resumes with its token", async (t) => {
    const server = await startProtected(t);
    const { tab } = await openWithToken(t, server, server.token(BOTH));
    await cutAndPublishTen(tab);
    await resumeTen(tab);
});

test("a user who is revoked loses the page's stream, and the page says so", async (t) => {
    const server = await startProtected(t);
    const { tab } = await openWithToken(t, server, server.token(BOTH));
    await server.revoke({ user: "me" });
    await isStatus(tab, "The hub ended the stream for good: revoked.");
    assert.equal(await stateOf(tab), "refused");
    assert.ok(await advice(tab));
});

test("the refusal of a protected hub fits a window of 360 pixels", async (t) => {
    const server = await startProtected(t);
    const { tab } = await visitPage(t, chromium(), server.url, `project.${"long-name-".repeat(12)}end`, NARROW);
    await isState(tab, "refused");
    await inPage(tab, () => !document.getElementById("advice").hidden);
    assert.equal(await tab.evaluate(() => document.documentElement.scrollWidth), NARROW.width);
    await screenshot(tab, "protected-narrow");
});

test("markup for a channel's name stays text, in the page and in its command", async (t) => {
    const server = await startProtected(t);
    const markup = `<img src=x onerror="document.title='run'">';$(run)`;
    const { tab, complaints } = await visitPage(t, chromium(), server.url, encodeURIComponent(markup));
    await isState(tab, "refused");
    assert.match(await textOf(tab, "#status"), /<img/);
    await tab.click("#credentials summary");
    await paste(tab, "nosuch");
    await isStatus(tab, "the credentials are invalid; get new ones");
    const quoted = `'${markup.replaceAll("'", "'\\''")}'`;
    assert.equal(await advice(tab), `tidings token --sub me --subscribe ${quoted} --publish ${quoted}`);
    assert.equal(await tab.$$eval("img, script:not([src])", (found) => found.length), 0);
    assert.equal(await tab.title(), `${markup} · Tidings`);
    assert.deepEqual(complaints.filter((complaint) => !complaint.includes("status of 40")), []);
});

test("the page's policy keeps inline scripts and handlers from running", async (t) => {
    const server = await startServer(t);
    const { tab, complaints } = await visitPage(t, chromium(), server.url, "project.1");
    await isLive(tab);
    await tab.evaluate(() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'run'";
        document.body.append(script);
        document.body.insertAdjacentHTML("beforeend", `<img src="data:," onerror="document.title = 'run'">`);
    });
    const violations = () => complaints.filter((complaint) => complaint.startsWith("policy: ")).sort();
    await until("both are stopped", () => violations().length >= 2);
    assert.deepEqual(violations(), ["policy: script-src-attr", "policy: script-src-elem"]);
    await inPage(tab, () => document.querySelector("img").complete);
    assert.equal(await tab.title(), "project.1 · Tidings");
});

test("every answer of the page carries the headers that keep it to itself", async (t) => {
    const server = await startServer(t);
    for (const path of ["/", "/page/style.css", "/page/main.js"]) {
        const { headers } = await fetch(server.url + path);
        const policy = headers.get("content-security-policy").split("; ");
        for (const rule of ["default-src", "frame-ancestors", "base-uri", "form-action"]) {
            assert.ok(policy.includes(`${rule} 'none'`), `${path}: ${rule}`);
        }
        for (const rule of ["script-src", "style-src", "connect-src"]) {
            assert.ok(policy.includes(`${rule} 'self'`), `${path}: ${rule}`);
        }
        assert.doesNotMatch(headers.get("content-security-policy"), /unsafe|\*/);
        assert.equal(headers.get("x-content-type-options"), "nosniff");
        assert.equal(headers.get("referrer-policy"), "no-referrer");
        assert.equal(headers.get("cross-origin-opener-policy"), "same-origin");
        assert.equal(headers.get("x-frame-options"), "DENY");
    }
});

test("no other page can put the page into a frame", async (t) => {
    const server = await startServer(t);
    const tab = await openTab(t, chromium());
    const refused = new Promise((done) => {
        tab.on("requestfailed", (request) => request.url() === `${server.url}/` && done(request.failure().errorText));
    });
    await tab.goto(await serveHtml(t, `<!doctype html><title>Frames</title><iframe src="${server.url}/"></iframe>`));
    assert.equal(await refused, "net::ERR_BLOCKED_BY_RESPONSE");
});
