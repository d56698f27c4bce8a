// A machine for one page of the manual: an empty home, all ports free, its own host names, one shell.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { chmod, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { Transcript, commandsOf } from "./manual.js";
import { BINARY, folder, until } from "./server.js";

const PYTHON = join(process.env.TIDINGS_PYTHONS ?? join(import.meta.dirname, "../../../target/python"), "manual");
const NODE_MODULES = join(import.meta.dirname, "../../node_modules");
/** Commands that run until the machine stops them. */
const SERVES = /^(?:\w+=(?:\$\([^)]*\)|\S+) )*(?:tidings(?: serve\b| --|$)|uvicorn |npx vite\b|nginx )/;
const STREAMS = /\bcurl\b.* -\w*N|\btidings subscribe\b(?!.*--count)/;

/**
 * Starts the machine, with `hosts` as names of itself. It ends with the test, and everything that runs on it.
 *
 * Commands run in the folder `home`, where the program `tidings` and the Python packages of the manual are on the path.
 */
export async function startMachine(test, { hosts = [] } = {}) {
    const place = await folder(test);
    const home = join(place, "home");
    await mkdir(home);
    await writeFile(join(place, "hosts"), `127.0.0.1 localhost ${hosts.join(" ")}\n`);
    await symlink(NODE_MODULES, join(place, "node_modules"));
    // As on a terminal: curl shows no progress, and each answer has its own lines.
    await writeFile(join(place, ".curlrc"), 'no-progress-meter\nwrite-out = "\\n"\n');
    const inherited = Object.entries(process.env).filter(([name]) => !/^TIDINGS_|_proxy$/i.test(name));
    const path = [join(PYTHON, "bin"), dirname(BINARY), "/usr/sbin", process.env.PATH].join(delimiter);
    const start = `ip link set lo up && mount --bind ${join(place, "hosts")} /etc/hosts && exec bash --norc`;
    const isolated = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", start];
    const child = spawn("unshare", isolated, {
        cwd: home,
        env: { ...Object.fromEntries(inherited), HOME: place, PATH: path, PYTHONUNBUFFERED: "1" },
        stdio: ["pipe", "ignore", "inherit", "pipe"],
    });
    const exit = once(child, "exit");
    test.after(async () => {
        child.kill("SIGKILL");
        await exit;
    });
    return new Machine(child, home, place);
}

class Machine {
    #shell;
    #statuses;
    #outputs = 0;
    #transcript = new Transcript();

    constructor(child, home, place) {
        Object.assign(this, { home, place, pid: child.pid });
        this.#shell = child;
        this.#statuses = createInterface({ input: child.stdio[3] })[Symbol.asyncIterator]();
        // Each background command is a process group, and is stopped as a whole.
        child.stdin.write("set -m\n");
    }

    /** Writes a file that the page shows. */
    write = (name, { code }) => writeFile(join(this.home, name), code);

    /** Runs a block of commands without printed answers; each must succeed. */
    async run({ code, at }) {
        const { status, output } = await this.#execute(`set -e\n${code}`, { isSubshell: true });
        assert.equal(status, "0", `${at}: ${output}`);
    }

    /** Runs one command and returns its output. */
    async ask(command) {
        return (await this.#execute(command)).output.trim();
    }

    /** Runs a transcript: each command must print what the page prints. Servers go on, streams are stopped. */
    async play({ at, ...block }) {
        // Output behind a background job of the page (`… &`) prints among its lines.
        let isShared = false;
        let printed = "";
        for (const part of commandsOf(block)) {
            const command = this.#transcript.actual(part.command);
            printed = isShared ? printed + part.printed : part.printed;
            const isOwnJob = /&\s*$/.test(command);
            const goesOn = !isOwnJob && (SERVES.test(command) || STREAMS.test(command));
            const file = isShared ? this.#file() : this.#newFile();
            const started = await this.#send(command, file, { isBackground: goesOn });
            isShared ||= isOwnJob;
            // A server's log stands among its lines, too.
            const matches = isShared || SERVES.test(command)
                ? (output) => this.#transcript.hasLines(printed, output)
                : (output) => this.#transcript.matches(printed, output, !goesOn);
            await this.#expect(`${at}: ${part.command}`, printed, file, matches);
            if (goesOn && STREAMS.test(command)) await this.#send(`kill -INT -- -${started} 2>/dev/null; wait ${started}`);
        }
    }

    async #expect(what, printed, file, matches) {
        let output = "";
        const isThere = async () => {
            output = await readFile(file, "utf8");
            return matches(output);
        };
        await until(what, isThere).catch((error) => assert.equal(output, printed, error.message));
    }

    #file = () => join(this.place, `output-${this.#outputs}`);

    #newFile() {
        this.#outputs += 1;
        writeFileSync(this.#file(), "");
        return this.#file();
    }

    async #execute(command, options) {
        const file = this.#newFile();
        const status = await this.#send(command, file, options);
        return { status, output: await readFile(file, "utf8") };
    }

    /** Gives the shell a command; returns its status, or its group if it runs in the background. */
    async #send(command, file = "/dev/null", { isBackground = false, isSubshell = false } = {}) {
        const encoded = Buffer.from(command).toString("base64");
        const text = `eval "$(echo ${encoded} | base64 -d)"`;
        const run = `${isSubshell ? `(${text})` : text} >>${file} 2>&1 </dev/null`;
        this.#shell.stdin.write(isBackground ? `${run} & echo $! >&3\n` : `${run}; echo $? >&3\n`);
        const { value } = await this.#statuses.next();
        return value;
    }
}

/** A Chromium on that machine, for `launch`. */
export async function chromiumOn({ pid, place }) {
    const program = join(place, "chromium");
    const chromium = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";
    await writeFile(program, `#!/bin/sh\nexec nsenter --target ${pid} --net ${chromium} "$@"\n`);
    await chmod(program, 0o755);
    return program;
}
