// The snippets of the page, run as they are copied.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { promisify } from "node:util";
import { describeInEach, inPage, openTab } from "./harness/browsers.js";
import { fill, isState, textOf, visitPage } from "./harness/page.js";
import { startProtected } from "./harness/protected.js";
import { startServer, until } from "./harness/server.js";

const run = promisify(execFile);
/** Data that wrong quotes, escapes or line ends would spoil. */
const DATA = ['{"text":"Hello"}', "@it's \"two\"\nlines \\ $HOME `x` ünïcode 🎈'"];
const PROGRAMS = { python: ["python3", "-c"], curl: ["bash", "-c"] };
const RIGHTS = { subscribe: ["project.*"], publish: ["project.*"] };

/** Chooses a language and returns both snippets. */
async function snippets(tab, language) {
    await tab.$eval(`[name=language][value=${language}]`, (choice) => choice.click());
    return { watch: await textOf(tab, "#snippet-watch"), publish: await textOf(tab, "#snippet-publish") };
}

/** Runs a watching snippet outside of a browser until the test ends; returns its output. */
function watchWith(t, language, code, env) {
    const [program, flag] = PROGRAMS[language];
    const child = spawn(program, [flag, language === "curl" ? `exec ${code}` : code], { env, stdio: ["ignore", "pipe", "inherit"] });
    let printed = "";
    child.stdout.on("data", (bytes) => (printed += bytes));
    const exit = once(child, "exit");
    t.after(async () => {
        child.kill("SIGKILL");
        await exit;
    });
    return () => printed;
}

describeInEach("the page's snippets", (_, browser) => {
    async function open(t, server) {
        const { tab } = await visitPage(t, browser(), server.url, "project.1");
        await inPage(tab, () => !document.getElementById("cut").disabled || document.body.dataset.state === "refused");
        await fill(tab, "#event", "error");
        return tab;
    }

    /** Opens a page of the hub that runs snippets, answers their prompt with `token`, and keeps their log. */
    async function openProgram(t, server, token) {
        const tab = await openTab(t, browser());
        await tab.goto(`${server.url}/healthz`);
        await tab.evaluate((token) => {
            window.logged = [];
            console.log = (...values) => window.logged.push(values);
            window.prompt = () => token;
        }, token);
        return tab;
    }

    /** Runs a snippet to its end, as in a module. */
    const runIn = (tab, code) => tab.evaluate((code) => new (async () => {}).constructor(code)(), code);

    for (const [kind, start] of [["an open", startServer], ["a protected", startProtected]]) {
        test(`snippets of ${kind} hub watch and publish in every language`, async (t) => {
            const server = await start(t);
            const tab = await open(t, server);
            const token = server.token?.(RIGHTS) ?? "";
            if (token) {
                await fill(tab, "#token", token);
                await tab.$eval("#credentials [type=submit]", (button) => button.click());
                await isState(tab, "live");
            }
            const env = { PATH: process.env.PATH, TOKEN: token };
            const texts = {};
            for (const language of ["javascript", "python", "curl"]) texts[language] = await snippets(tab, language);
            for (const { watch, publish } of Object.values(texts)) {
                assert.ok(watch.includes(`${server.url}/api/v1/events/project.1`), watch);
                assert.ok(publish.includes(`${server.url}/api/v1/events/project.1?event=error`), publish);
                assert.ok(!token || !(watch + publish).includes(token));
            }
            const watchers = Object.keys(PROGRAMS).map((language) => watchWith(t, language, texts[language].watch, env));
            const watching = await openProgram(t, server, token);
            const publishing = await openProgram(t, server, token);
            await runIn(watching, texts.javascript.watch);
            await until("four streams are open", async () => (await server.connections())[0]?.connections === 4);

            for (const data of DATA) {
                await tab.$eval("#data", (field, data) => {
                    field.value = data;
                    field.dispatchEvent(new InputEvent("input", { bubbles: true }));
                }, data);
                await runIn(publishing, (await snippets(tab, "javascript")).publish);
                for (const [language, [program, flag]] of Object.entries(PROGRAMS)) {
                    const { stdout } = await run(program, [flag, (await snippets(tab, language)).publish], { env });
                    assert.ok(JSON.parse(stdout).offset, stdout);
                }
            }
            const stored = (await server.history("project.1")).events;
            assert.deepEqual(stored.map(({ event, data }) => [event, data]), DATA.flatMap((data) => Array(3).fill(["error", data])));
            await inPage(watching, (want) => window.logged.length === want, stored.length);
            const heard = await watching.evaluate(() => window.logged);
            assert.deepEqual(heard, stored.map(({ data }) => ["error", data]));
            const printed = stored.map(({ data }) => `error ${data}\n`).join("");
            await until("Python printed all", () => watchers[0]() === printed);
            await until("curl printed all", () => watchers[1]().split("event: error").length - 1 === stored.length);
        });
    }

    test("Copy puts the snippet into the clipboard, or at least selects it", async (t) => {
        const server = await startServer(t);
        const tab = await open(t, server);
        await tab.$eval("[data-copies=snippet-watch]", (button) => button.click());
        await inPage(tab, () => document.querySelector("[data-copies=snippet-watch]").textContent !== "Copy");
        assert.equal(await tab.evaluate(() => getSelection().toString().trim()), (await textOf(tab, "#snippet-watch")).trim());
    });
});
