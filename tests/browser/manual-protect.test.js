// The manual's page on a protected hub, from an empty directory, with every command, file and answer as printed.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inPage, launch } from "./harness/browsers.js";
import { chromiumOn, startMachine } from "./harness/machine.js";
import { readPage } from "./harness/manual.js";
import { nginxSettings } from "./harness/recipes.js";
import { until } from "./harness/server.js";

/** The certificate that the page's nginx names. Only this machine sees it there. */
const CERTIFICATE = `openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=app.example.com -keyout ../key.pem -out ../cert.pem 2>&1 &&
    mount -t tmpfs none /etc/ssl && mkdir /etc/ssl/app && cp ../key.pem ../cert.pem /etc/ssl/app`;

/** Sections 1 and 2: the hub, then the backend with its hook. */
async function startBoth(machine, page) {
    await machine.run(page.take("sh", "umask 077"));
    await machine.play(page.take("console", "tidings key"));
    await machine.run(page.take("sh", "grep -o"));
    await machine.play(page.take("console", "tidings serve"));
    await machine.play(page.take("console", "curl http://127.0.0.1:8000/api/v1/events/project.42"));
    await machine.play(page.take("console", "tidings token --sub alice"));
    await machine.write("app.py", page.take("python", "# app.py"));
    await machine.play(page.take("console", "uvicorn"));
    await machine.run(page.take("sh", "pkill -HUP"));
    const asked = `curl -s -m 1 -H "Authorization: Bearer $TOKEN" 'http://127.0.0.1:8000/api/v1/events/project.*'`;
    await until("the hub asks the hook", async () => (await machine.ask(asked)).includes("access_denied"));
    await machine.play(page.take("console", "curl -c jar"));
    await machine.play(page.take("console", "tidings publish project.42"));
}

/** The React page, in a browser on that machine: it signs in, follows, comments and signs out. */
async function usePage(t, machine) {
    await until("the pages are served", async () => (await machine.ask("curl -s http://localhost:3000/")).includes("/main.jsx"));
    const browser = await launch("chromium", { hosts: ["EXCLUDE localhost"], program: await chromiumOn(machine) });
    t.after(() => browser.close());
    const tab = await browser.newPage();
    const errors = [];
    tab.on("pageerror", (error) => errors.push(error.message));
    await tab.goto("http://localhost:3000/");
    await tab.waitForSelector("button");
    await tab.click("button");
    await tab.waitForSelector("input");
    const isRead = async () => (await machine.ask(`curl -s -H "Authorization: Bearer $(cat backend.key)" http://127.0.0.1:8000/api/v1/channels`)).includes("project.42");
    await until("the page follows its channel", isRead);
    await tab.type("input", "From the page");
    await tab.click("button");
    await inPage(tab, () => document.querySelector("li")?.textContent === "alice: From the page");
    const publish = (options) => machine.ask(`TIDINGS_TOKEN=$(cat backend.key) tidings publish project.42 '{"type":"comment","object":{"by":"x","text":"y"}}' ${options}`);
    for (const name of ["error", "open"]) await publish(`--event ${name}`);
    await publish("--event message");
    await publish("");
    await inPage(tab, () => document.querySelectorAll("li").length === 3);
    await tab.$$eval("button", (buttons) => buttons[1].click());
    await inPage(tab, () => document.querySelector("button").textContent === "Sign in as Alice");
    assert.deepEqual(errors, []);
}

/** The nginx of the manual in front of both, as it is printed. */
async function useNginx(machine, page) {
    assert.match(await machine.ask(`${CERTIFICATE}; echo made $?`), /made 0/);
    const { code } = page.take("nginx", "server_name app.example.com");
    await machine.write("nginx.conf", { code: nginxSettings(machine.home, code) });
    assert.equal(await machine.ask(`nginx -p ${machine.home} -c ${machine.home}/nginx.conf 2>/dev/null`), "");
    const signIn = `curl -s -k -c site -H 'Content-Type: application/json' -d '{"user":"alice"}' https://app.example.com/login`;
    assert.equal(await machine.ask(signIn), '{"user":"alice"}');
    const curl = "curl -s -k -m 2 -b site https://app.example.com";
    const stream = await machine.ask(`${curl}/api/v1/events/project.42 -i`);
    assert.match(stream, /^HTTP\/2 200/);
    const refused = await machine.ask(`${curl}/api/v1/events/project.42 -H 'Origin: https://other.example'`);
    assert.match(refused, /forbidden_origin/);
    // The request reaches the backend, which has no such route.
    assert.match(await machine.ask(`${curl}/api/v1/publish -X POST -d x`), /"Not Found"/);
}

test("the manual's way to a protected hub works as it is printed, from an empty directory", async (t) => {
    const page = await readPage("docs/manual/protect.md");
    const machine = await startMachine(t, { hosts: ["app.example.com"] });
    await startBoth(machine, page);
    await machine.play(page.take("console", "/api/v1/tickets"));
    await machine.write("live.js", page.take("js", "// live.js"));
    await machine.write("useLive.js", page.take("js", "// useLive.js"));
    await machine.write("main.jsx", page.take("jsx", "// main.jsx"));
    await machine.write("index.html", page.take("html", "<!-- index.html -->"));
    await machine.write("vite.config.js", page.take("js", "// vite.config.js"));
    await machine.play(page.take("console", "npx vite"));
    await usePage(t, machine);
    // The page has signed Alice out: a login counts from the next second on.
    const signIn = `curl -s -c jar -H 'Content-Type: application/json' -d '{"user":"alice"}' http://127.0.0.1:8001/login >/dev/null
        curl -s -o /dev/null -w '%{http_code}' -b jar http://127.0.0.1:8000/api/v1/channels/project.42/events`;
    await until("Alice is signed in anew", async () => (await machine.ask(signIn)) === "200");
    await machine.ask("TOKEN=$(tidings token --sub alice)");
    await useNginx(machine, page);
    await machine.play(page.take("console", "tidings subscribe project.42 --json &"));
    await machine.run(page.take("sh", "ed25519"));
    const sign = page.take("python", 'algorithm="EdDSA"').code.trim().replace("signing-1", "signing-2");
    const verify = `jwt.decode(${sign}, open("verify.pem").read(), algorithms=["EdDSA"])`;
    assert.equal(await machine.ask(`python3 -c 'import jwt; claims = {"sub": "alice"}; print(${verify})'`), "{'sub': 'alice'}");
});
