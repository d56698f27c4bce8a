// The blocks of code in the pages of the manual, in order.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "../../..");
const FENCE = /^```(\w*)\n([^]*?)^```$/gm;

/** Reads a page, given by its path in the repository. */
export async function readPage(path) {
    const text = await readFile(join(ROOT, path), "utf8");
    const blocks = [...text.matchAll(FENCE)].map(({ 1: language, 2: code, index }) => {
        const lines = text.slice(0, index).split("\n");
        return { language, code, at: `${path}:${lines.length}`, before: lines.slice(-5).join("\n"), isUsed: false };
    });
    return new Page(path, blocks);
}

/** Tests take blocks in the order of the page, so that a moved block fails a test. */
class Page {
    #next = 0;

    constructor(path, blocks) {
        Object.assign(this, { path, blocks });
    }

    /** Takes the next block of this language whose code has this text. */
    take(language, text = "") {
        const found = this.blocks.findIndex(
            (block, index) => index >= this.#next && block.language === language && block.code.includes(text),
        );
        assert.ok(found >= 0, `${this.path}: no further block of ${language} has ${text}`);
        this.#next = found + 1;
        this.blocks[found].isUsed = true;
        return this.blocks[found];
    }

    /** Finds a block by its text, anywhere on the page. */
    find(text) {
        const found = this.blocks.find(({ code }) => code.includes(text));
        assert.ok(found, `${this.path}: no block has ${text}`);
        found.isUsed = true;
        return found;
    }

    /** Finds the first block after a text of the page. */
    after(text) {
        const found = this.blocks.find(({ before }) => before.includes(text));
        assert.ok(found, `${this.path}: no block follows ${text}`);
        found.isUsed = true;
        return found;
    }

    unused() {
        return this.blocks.filter(({ isUsed }) => !isUsed).map(({ at, code }) => `${at}: ${code.split("\n")[0]}`);
    }
}

/** The commands of a transcript, each with its printed answer. A command goes on while a quote or a line is open. */
export function commandsOf({ code }) {
    const commands = [];
    let isOpen = false;
    for (const line of code.trimEnd().split("\n")) {
        const last = commands.at(-1);
        if (isOpen) last.command += `\n${line}`;
        else if (line.startsWith("$ ")) commands.push({ command: line.slice(2), printed: "" });
        else last.printed += `${line}\n`;
        if (isOpen || line.startsWith("$ ")) isOpen = goesOn(commands.at(-1).command);
    }
    return commands;
}

function goesOn(command) {
    const quotes = command.replace(/\\./g, "").match(/'[^']*'|"[^"]*"|['"]/g) ?? [];
    return /[\\|]$/.test(command) || quotes.some((quote) => quote.length === 1);
}

/** Texts that differ between runs. Those with `true` are equal wherever the page repeats them. */
const VARYING = [
    [String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z`, false],
    [String.raw`\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT`, false],
    [String.raw`retry: \d+`, false],
    // A position depends on the log at that time.
    [String.raw`(?<="type":"position","id":")[^"]+`, false],
    [String.raw`\d+(?:\.\d+)? m?s\b`, false],
    [String.raw`\[\d+\]`, false],
    [String.raw`tk_[A-Za-z0-9_-]{43}`, true],
    [String.raw`ti_[A-Za-z0-9_-]{43}`, true],
    [String.raw`sha256:[0-9a-f]{64}`, true],
    [String.raw`\b[0-9a-f]{32}\b`, true],
    [String.raw`\b[0-9a-f]{16}(?=-\d)`, true],
    [String.raw`(?<=-\d+-|\.\d+-)(?!0{8})[0-9a-f]{8}\b`, true],
];
const ANY_VARYING = new RegExp(VARYING.map(([pattern]) => `(${pattern})`).join("|"), "g");

/** Maps each varying text of a page to that of this run. */
export class Transcript {
    #values = new Map();

    /** A command, with earlier texts of the page replaced by those of this run. */
    actual(command) {
        return [...this.#values].reduce((text, [printed, value]) => text.replaceAll(printed, value), command);
    }

    /** Whether the output has every printed line, in any order. */
    hasLines(printed, output) {
        const lines = output.split("\n");
        return printed.trim().split("\n").every((wanted) => lines.some((line) => this.matches(wanted, line, true)));
    }

    /** Whether this output is that of the page; with `isWhole` nothing may follow. */
    matches(printed, output, isWhole) {
        const names = [];
        const seen = new Map();
        let pattern = "";
        let end = 0;
        for (const { 0: text, index, ...groups } of printed.trim().matchAll(ANY_VARYING)) {
            const [source, isKept] = VARYING[Object.values(groups).slice(0, VARYING.length).findIndex(Boolean)];
            pattern += escape(printed.trim().slice(end, index));
            end = index + text.length;
            if (this.#values.has(text)) pattern += escape(this.#values.get(text));
            else if (seen.has(text)) pattern += `\\${seen.get(text)}`;
            else {
                names.push(text);
                if (isKept) seen.set(text, names.length);
                pattern += `(${source})`;
            }
        }
        pattern += escape(printed.trim().slice(end));
        const found = new RegExp(`^${pattern}${isWhole ? "$" : ""}`).exec(isWhole ? output.trim() : output.trimStart());
        if (found) names.forEach((name, index) => seen.has(name) && this.#values.set(name, found[index + 1]));
        return Boolean(found);
    }
}

/** Escapes a text for a regular expression. */
const escape = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
