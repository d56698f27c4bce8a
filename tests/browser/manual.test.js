// Blocks of the manual as they are printed, each group on its own machine, with the hub on port 8000.

import assert from "node:assert/strict";
import { test } from "node:test";
import { startMachine } from "./harness/machine.js";
import { Transcript, readPage } from "./harness/manual.js";
import { until } from "./harness/server.js";

/** The answer that a sample prints, from the comment in its last line. */
const printedBy = ({ code }) => /^(?:#|\/\/) (.+)$/m.exec(code.trimEnd().split("\n").at(-1))[1];

test("the first commands of the manual start a hub and publish from Python and Node", async (t) => {
    const page = await readPage("docs/manual.md");
    const machine = await startMachine(t);
    const transcript = new Transcript();
    await machine.play(page.take("console", "tidings serve"));
    await machine.play(page.take("console", "0.0.0.0:8013"));
    const samples = [
        ["python", "import requests", "sample.py", "python3 sample.py"],
        ["python", "urllib.request", "sample.py", "python3 sample.py"],
        ["js", "async function sendEvent", "sample.mjs", "node sample.mjs"],
    ];
    for (const [language, text, file, command] of samples) {
        const block = page.take(language, text);
        await machine.write(file, block);
        const output = await machine.ask(command);
        assert.ok(transcript.matches(printedBy(block), output, true), `${block.at}: ${output}`);
    }
});

test("what the manual says of publishing and of history is answered as it is printed", async (t) => {
    const page = await readPage("docs/manual.md");
    const machine = await startMachine(t);
    await machine.play(page.take("console", "tidings serve"));
    const blocks = [
        '"type":"data","object":{"n":1}}\' http://127.0.0.1:8000/api/v1/events/project.123\n',
        '"idempotencyKey":"task-7-done"',
        '"dat":2',
        "events?limit=2",
    ];
    for (const text of blocks) await machine.play(page.take("console", text));
});

test("the manual's strict envelopes and TEST_MODE are answered as they are printed", async (t) => {
    const page = await readPage("docs/manual.md");
    const machine = await startMachine(t);
    await machine.write("tidings.toml", page.find('envelope = "strict"'));
    await machine.play({ at: "a hub", code: "$ TEST_MODE=true tidings serve --memory --listen 127.0.0.1:8012\n  page     http://127.0.0.1:8012/\n" });
    await machine.play(page.take("console", "8012/api/v1/events/test"));
    await machine.play(page.take("console", "unknown_type"));
});

test("the manual's list of channels is what two streams make of it", async (t) => {
    const page = await readPage("docs/manual.md");
    const machine = await startMachine(t);
    await machine.play(page.take("console", "tidings serve"));
    await machine.ask('curl -sN "http://127.0.0.1:8000/api/v1/events?channel=a&channel=b.*" &');
    const list = "curl -s http://127.0.0.1:8000/api/v1/channels";
    await until("the stream is open", async () => (await machine.ask(list)).includes("b.*"));
    await machine.play(page.take("console", "http://127.0.0.1:8000/api/v1/channels\n"));
});

test("commands of the page on running a hub print what they print there", async (t) => {
    const page = await readPage("docs/manual/running.md");
    const machine = await startMachine(t);
    await machine.play({ at: "a hub", code: "$ tidings serve --data-dir data\n  page     http://127.0.0.1:8000/\n" });
    await machine.play(page.take("console", "--listen 127.0.0.1:0 --data-dir data"));
    await machine.play(page.take("console", "ulimit -n 256"));
    await machine.play(page.take("console", "tidings publish project.9"));
    await machine.play((await readPage("docs/manual/bench.md")).take("console", "ulimit -n 1024"));
});

test("the example of a problem code is answered as it is printed", async (t) => {
    const machine = await startMachine(t);
    await machine.play((await readPage("docs/manual.md")).take("console", "tidings serve"));
    await machine.play((await readPage("docs/manual/problems.md")).take("console", "head -c 300000"));
});
