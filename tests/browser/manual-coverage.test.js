// Every block of the manual is run by a test that takes it by its text, or is listed here with a reason.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { readPage } from "./harness/manual.js";

const FIGURES = "figures of one machine";
const FAULT = "a fault, which Rust tests make: see faults.rs";
const SERVICE = "a service that is not here";
const LATER = "its answer needs a history that the page does not print";
const SETTINGS = "settings alone: checked by settings.rs and others";
const PART = "a part of a stream, which conformance/streams.json shows";

/** Texts of the blocks that no test runs, with the reason. */
const NOT_RUN = {
    "README.md": {
        "cargo run --release": "builds the project",
        "# watch, in a second terminal": "the commands of the manual, in one terminal each",
        "docker run": SERVICE,
        "cargo xtask ci": "runs this test",
    },
    "docs/manual.md": {
        'curl -N -H "Accept: text/event-stream" "http://localhost:8000': "prints nothing",
        "$ curl -sN -i -H": LATER,
        "channel=file.*&hello=true": LATER,
        "/api/v1/stream -d": "prints nothing",
        "event: tidings.end": PART,
        "[cors]": SETTINGS,
        '$ curl -sN -H "Last-Event-ID: 523dc4ada485ac29-1-b86c2926"': "prints nothing",
        "8011/api/v1/events?channel=a&channel=b": LATER,
        "order-7-paid": "needs a restart between two commands; idempotency is tested by publish.rs",
        "8011/api/v1/channels/a/events": LATER,
        "tidings = { path =": "a manifest with a path of the reader",
        "orders/42/ship\n9ee6": "of examples/embedded.rs",
        "api/v1/events/orders.42": "of examples/embedded.rs",
    },
    "docs/manual/protect.md": {
        "── token, ticket or cookie": "a picture",
        "withCredentials: true": "two ways of one line; credentials.test.js runs both",
        "trusted_proxies": SETTINGS,
        "[server.tls]": SETTINGS,
        "tidings doctor http": "prints nothing; doctor is tested by its own tests",
        "settings have errors": "a log",
        "jwks_url =": SERVICE,
        "address_connections_full": "needs a limit that the page does not set; limits.rs",
    },
    "docs/manual/running.md": {
        "shutting down: streams end": "a log",
        "the log is being opened": "needs a log that takes long to open; log_opening.rs",
        "doctor http://127.0.0.1:8104": "depends on a proxy of the reader",
        "doctor http://127.0.0.1:8103": "depends on a proxy of the reader",
        "@f50": FAULT,
        "could not be made safe": FAULT,
        "the log is not whole": FAULT,
        "data: event number 2": FAULT,
        '"requested":"bcdf99059802e87f': FAULT,
        "TIDINGS_LOG_RETENTION_BYTES=4GiB": "needs settings that the page does not print",
        "--count 6": "needs a restart between two lines",
    },
    "docs/manual/redis.md": { "--data-dir node-1": "prints nothing", "docker compose": SERVICE },
    "docs/manual/bench.md": {
        "--connections 1000 --rate 30": FIGURES,
        "bench -c 5\n": FIGURES,
        "nchan_subscriber": SERVICE,
        "--rate max --seconds 5": FIGURES,
        "--storm 3": FIGURES,
        "jq -c": FIGURES,
    },
    "docs/manual/clients.md": { "cargo xtask clients": "plays to 28 libraries for minutes" },
    "docs/manual/problems.md": {},
    "docs/manual/http.md": {},
};

/** Tests in Rust find these blocks by themselves. */
const RUN_BY_RUST = {
    // crates/tidings/tests/manual.rs holds each block against what it compiles.
    "docs/manual.md": ["Hub::builder()", "axum::serve(listener", "hub.subscribe(", "hub.history(", "hub.body("],
    "docs/manual/redis.md": ["ACL SETUSER"],
};
/** Blocks that the tests of proxies take, by the text before them. */
const RUN_BY_HEADING = { "docs/manual/running.md": ["location /api/", "events.example.com {", "frontend web", "<VirtualHost", "Status: 200", "vcl 4.1;", "routers:", "configure: (proxy)", "force-dynamic"] };

/** The texts by which tests take blocks: arguments, and rows of tables. */
const TAKEN = /(?:take\("\w+", |find\(|text: |^ +|\["\w+", )(["'])((?:(?!\1)[^\\\n]|\\.)+)\1[,)]/gm;

test("every block of the manual is run by a test, or listed with a reason", async () => {
    const names = (await readdir(import.meta.dirname)).filter((name) => /^manual.*\.test\.js$/.test(name) && !name.includes("coverage"));
    const tests = await Promise.all(names.map((name) => readFile(join(import.meta.dirname, name), "utf8")));
    const taken = tests.flatMap((text) => [...text.matchAll(TAKEN)]).map(({ 2: text }) => text);
    const texts = taken.map((text) => text.replace(/\\n/g, "\n").replace(/\\(.)/g, "$1"));
    const faults = [];
    for (const [path, reasons] of Object.entries(NOT_RUN)) {
        const { blocks } = await readPage(path);
        const others = [...(RUN_BY_RUST[path] ?? []), ...(RUN_BY_HEADING[path] ?? [])];
        for (const { at, code } of blocks) {
            const isListed = Object.keys(reasons).some((text) => code.includes(text));
            const isRun = [...texts, ...others].some((text) => code.includes(text));
            if (!isListed && !isRun) faults.push(`${at} is run by no test`);
        }
        for (const text of Object.keys(reasons)) {
            if (!blocks.some(({ code }) => code.includes(text))) faults.push(`${path} has no block with ${text}`);
        }
    }
    assert.deepEqual(faults, []);
});
