// Runs a `tidings` process during a test.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

export const BINARY = resolve(process.env.TIDINGS_BIN ?? join(import.meta.dirname, "../../../target/debug/tidings"));
const EXIT_TIMEOUT_MS = 10_000;
const running = new Set();

// A test that fails half-way must not leave its server behind.
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** Makes a folder for one test, removed when the test ends. */
export async function folder(test) {
    const made = await mkdtemp(join(tmpdir(), "tidings-browser-"));
    test.after(() => rm(made, { recursive: true, force: true }));
    return made;
}

/**
 * Starts a hub on `port`, with its log in `dataDir` or in memory, and stops it when the test ends.
 *
 * `settings` are environment variables without their `TIDINGS_`, as in `{ STREAM_KEEP_ALIVE: "200ms" }`; `config` is the
 * text of a `tidings.toml`. The test's requests to the hub have these `headers`.
 */
export async function startServer(test, { port = 0, dataDir, settings = {}, config, headers = {} } = {}) {
    const place = dataDir ? ["--data-dir", dataDir] : ["--memory"];
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("TIDINGS_"));
    const chosen = Object.entries({ SHUTDOWN_WINDOW: "200ms", ...settings });
    const given = chosen.map(([name, value]) => [`TIDINGS_${name}`, value]);
    // Its own folder, so that the hub finds no settings file by accident.
    const cwd = await folder(test);
    if (config) await writeFile(join(cwd, "tidings.toml"), config);
    const child = spawn(BINARY, ["serve", ...place, "--listen", `127.0.0.1:${port}`], {
        cwd,
        env: Object.fromEntries([...inherited, ...given]),
        stdio: ["ignore", "pipe", "pipe"],
    });
    const exit = once(child, "exit");
    running.add(child);
    exit.finally(() => running.delete(child)).catch(() => {});
    let log = "";
    child.stderr.on("data", (bytes) => (log += bytes));
    const server = { url: await addressOf(child, () => log), stop: () => stop(child, exit) };
    test.after(server.stop);
    return { ...server, port: Number(new URL(server.url).port), ...requests(server.url, headers), log: () => log };
}

/** Reads the address from the first line of standard output, and discards the rest. */
async function addressOf(child, log) {
    const lines = createInterface({ input: child.stdout });
    const first = await Promise.race([once(lines, "line"), once(lines, "close")]);
    const address = /http:\/\/\S+/.exec(first[0] ?? "");
    if (!address) throw new Error(`${BINARY} did not start: ${log()}`);
    return address[0].replace(/\/$/, "");
}

/** Stops the process as a deploy would; kills one that does not end, and fails the test. */
async function stop(child, exit) {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
    const deadline = setTimeout(() => child.kill("SIGKILL"), EXIT_TIMEOUT_MS);
    child.kill("SIGTERM");
    const [code, signal] = await exit;
    clearTimeout(deadline);
    if (signal) throw new Error(`the server did not end within ${EXIT_TIMEOUT_MS} ms of SIGTERM`);
    return code;
}

/** Requests of a backend to a hub. */
function requests(url, headers) {
    const json = async (path, init) => {
        const answer = await fetch(`${url}${path}`, { ...init, headers: { ...headers, ...init?.headers } });
        const text = await answer.text();
        const body = text && JSON.parse(text);
        if (!answer.ok) throw new Error(`${path}: ${answer.status} ${body.detail}`);
        return body;
    };
    const form = { "Content-Type": "application/x-www-form-urlencoded" };
    return {
        /** Publishes as `curl -d` does. */
        publish: (channel, data, query = {}) => {
            const path = `/api/v1/events/${channel}?${new URLSearchParams(query)}`;
            return json(path, { method: "POST", body: data, headers: form });
        },
        /** Publishes many events of one channel as one batch. */
        publishAll: (channel, list) => {
            const body = JSON.stringify(list.map((data) => ({ channels: [channel], data })));
            return json("/api/v1/publish", { method: "POST", body, headers: { "Content-Type": "application/json" } });
        },
        /** Revokes a user, a session or a token. */
        revoke: (whom) => {
            const body = JSON.stringify(whom);
            return json("/api/v1/revocations", { method: "POST", body, headers: { "Content-Type": "application/json" } });
        },
        history: (channel, query = {}) => json(`/api/v1/channels/${channel}/events?${new URLSearchParams(query)}`),
        connections: async () => (await json("/api/v1/channels")).channels,
    };
}

/** The numbers of a range, as texts. */
export const numbered = (first, last) => Array.from({ length: last - first + 1 }, (_, index) => `${first + index}`);

/** Polls until `condition` returns a true value, and returns it. */
export async function until(what, condition, deadlineMs = 15_000) {
    const end = Date.now() + deadlineMs;
    for (;;) {
        const found = await condition();
        if (found) return found;
        if (Date.now() > end) throw new Error(`${what}: not within ${deadlineMs} ms`);
        await new Promise((resolve) => setTimeout(resolve, 20));
    }
}
