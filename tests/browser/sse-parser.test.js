// The page's parser of Server-Sent Events, with the cases of conformance/.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

const ROOT = join(import.meta.dirname, "../..");
const RETRY_MAX = 2 ** 63;
const { EventParser } = await importPage("sse.js");

async function importPage(name) {
    const code = await readFile(join(ROOT, "crates/tidings/src/http/demo_page", name), "utf8");
    return import(`data:text/javascript,${encodeURIComponent(code)}`);
}

/** Returns the events that an application gets if the bytes come in parts of this size. */
function parsed(bytes, size) {
    const parser = new EventParser();
    const events = [];
    for (let at = 0; at < bytes.length; at += size) {
        for (const { type, data } of parser.push(bytes.subarray(at, at + size))) {
            if (data !== null) events.push([type, data]);
        }
    }
    return { events, retry: parser.retryMs, last: parser.lastId };
}

test("the page's parser reads every case of the conformance suite, whole and byte by byte", async () => {
    const cases = JSON.parse(await readFile(join(ROOT, "conformance/sse-parser.json"), "utf8"));
    assert.ok(cases.length > 40);
    for (const { name, hex, events, retry, last } of cases) {
        const bytes = Buffer.from(hex, "hex");
        for (const size of [1, 2, 3, bytes.length]) {
            const found = parsed(bytes, size);
            assert.deepEqual(found.events, events.map(([type, data]) => [type, data]), `${name}, ${size} bytes at a time`);
            // The cases saturate at 64 bits; the page bounds its wait far below.
            assert.equal(found.retry && Math.min(found.retry, RETRY_MAX), retry && Math.min(retry, RETRY_MAX), name);
            if (last !== null) assert.equal(found.last, last, name);
        }
    }
});
