// Proxies before a hub, with the recipes of the manual. Each ends with its test.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect, createServer as listener } from "node:net";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pathToFileURL } from "node:url";
import { createServer as createVite } from "vite";
import { readPage } from "./manual.js";
import { folder, until } from "./server.js";

const HUB = "127.0.0.1:8000";
const running = new Set();

// A test that fails half-way must not leave its proxies behind.
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

const PAGE = '<!doctype html><title>A page</title><link rel="icon" href="data:,">';

/** The code after this text in the manual, with the test's hub. */
async function recipe(heading, hub, changes = []) {
    const { code } = (await readPage("docs/manual/running.md")).after(heading);
    return [[HUB, hub], ...changes].reduce((text, [from, to]) => {
        if (!text.includes(from)) throw new Error(`${heading}: no ${from}`);
        return text.replaceAll(from, to);
    }, code);
}

/** Waits for this event; false after an error. */
const happens = (socket, event) => once(socket, event).then(() => true, () => false);

/** A port that is free now. */
export async function freePort() {
    const socket = listener().listen(0, "127.0.0.1");
    await once(socket, "listening");
    const { port } = socket.address();
    await new Promise((closed) => socket.close(closed));
    return port;
}

/** A port outside of the system's ephemeral range, so that it stays free while its hub is away. */
export async function quietPort() {
    for (let port = 28_000 + (process.pid % 2_000); ; port += 1) {
        const socket = listener().listen(port, "127.0.0.1");
        const isFree = await happens(socket, "listening");
        if (!isFree) continue;
        await new Promise((closed) => socket.close(closed));
        return port;
    }
}

async function run(t, port, command, args, options) {
    const system = `/usr/sbin/${command}`;
    const child = spawn(existsSync(system) ? system : command, args, { stdio: "ignore", ...options });
    const exit = once(child, "exit");
    running.add(child);
    exit.finally(() => running.delete(child)).catch(() => {});
    t.after(async () => {
        child.kill("SIGKILL");
        await exit;
    });
    await until(`${command} listens`, async () => {
        const socket = connect(port, "127.0.0.1");
        const isOpen = await happens(socket, "connect");
        socket.destroy();
        return isOpen;
    });
    return `http://127.0.0.1:${port}`;
}

/** The settings of an nginx that has its files in `folder`. */
export function nginxSettings(folder, servers) {
    const paths = ["client_body", "proxy", "fastcgi", "scgi", "uwsgi"].map((kind) => `${kind}_temp_path ${folder}/${kind};`);
    return `pid ${folder}/nginx.pid; error_log ${folder}/error.log; events {}
        http { access_log off; ${paths.join(" ")} ${servers} }`;
}

async function nginx(t, hub) {
    const [port, cwd] = [await freePort(), await folder(t)];
    const server = `server { listen 127.0.0.1:${port}; ${await recipe("**nginx** (", hub)} }`;
    await writeFile(join(cwd, "nginx.conf"), nginxSettings(cwd, server));
    const args = ["-p", cwd, "-c", "nginx.conf", "-g", "daemon off; master_process off;"];
    return run(t, port, "nginx", args, { cwd });
}

async function haproxy(t, hub) {
    const [port, cwd] = [await freePort(), await folder(t)];
    const file = join(cwd, "haproxy.cfg");
    await writeFile(file, await recipe("**HAProxy** (", hub, [["bind :8080", `bind 127.0.0.1:${port}`]]));
    return run(t, port, "haproxy", ["-db", "-f", file], { cwd });
}

async function caddy(t, hub) {
    const [port, cwd] = [await freePort(), await folder(t)];
    const file = join(cwd, "Caddyfile");
    const site = await recipe("**Caddy** (", hub, [["events.example.com", `http://127.0.0.1:${port}`]]);
    await writeFile(file, `{\n\tadmin off\n}\n${site}`);
    const env = { ...process.env, HOME: cwd, XDG_DATA_HOME: cwd, XDG_CONFIG_HOME: cwd };
    return run(t, port, "caddy", ["run", "--adapter", "caddyfile", "--config", file], { cwd, env });
}

async function vite(t, hub) {
    const cwd = await folder(t);
    const file = join(cwd, "vite.config.mjs");
    await writeFile(file, await recipe("**Vite's development server** (", hub));
    await writeFile(join(cwd, "index.html"), PAGE);
    const { default: settings } = await import(pathToFileURL(file));
    const server = { ...settings.server, host: "127.0.0.1", port: await freePort(), strictPort: true, hmr: false, ws: false };
    const development = await createVite({ root: cwd, configFile: false, logLevel: "silent", server });
    await development.listen();
    t.after(() => development.close());
    return `http://127.0.0.1:${server.port}`;
}

/** The route of Next.js, a function of `Request` to `Response`, served as Next.js would serve it. */
async function next(t, hub) {
    const file = join(await folder(t), "route.mjs");
    await writeFile(file, await recipe("**Next.js** (", hub));
    const { GET } = await import(pathToFileURL(file));
    const port = await freePort();
    const server = createServer(async (request, response) => {
        if (!request.url.startsWith("/api/")) {
            return response.writeHead(200, { "Content-Type": "text/html" }).end(PAGE);
        }
        const stop = new AbortController();
        response.on("close", () => stop.abort());
        const url = `http://127.0.0.1:${port}${request.url}`;
        const answer = await GET(new Request(url, { headers: request.headers, signal: stop.signal }));
        response.writeHead(answer.status, Object.fromEntries(answer.headers));
        response.flushHeaders();
        Readable.fromWeb(answer.body).on("error", () => response.destroy()).pipe(response);
    });
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
    t.after(() => {
        server.close();
        server.closeAllConnections();
    });
    return `http://127.0.0.1:${port}`;
}

/** Each starts before a hub, given as host and port, and returns its own address. `servesPages` means that it serves pages itself. */
export const PROXIES = [
    { name: "nginx", start: nginx },
    { name: "HAProxy", start: haproxy },
    { name: "Caddy", start: caddy },
    { name: "Vite", start: vite, servesPages: true },
    { name: "Next.js", start: next, servesPages: true },
];
