// The tests that docs/security.md names exist.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

const ROOT = join(import.meta.dirname, "../..");

/** Texts of all files below a folder with this name ending. */
async function texts(folder, ending) {
    const names = await readdir(join(ROOT, folder), { recursive: true });
    const wanted = names.filter((name) => name.endsWith(ending) && !name.includes("node_modules"));
    return Promise.all(wanted.map(async (name) => [name, await readFile(join(ROOT, folder, name), "utf8")]));
}

test("every test that the security page names is there, and in the module that it names", async () => {
    const page = await readFile(join(ROOT, "docs/security.md"), "utf8");
    const rust = await texts("crates", ".rs");
    const browser = (await texts("tests/browser", ".test.js")).map(([, text]) => text).join("\n");
    const named = [...new Set([...page.matchAll(/`((?:\w+::)+\w+)`/g)].map(([, path]) => path))];
    assert.ok(named.length > 50, `${named.length} tests are named`);
    const isThere = (path) => {
        const modules = path.split("::");
        const fact = modules.pop();
        const file = `${modules.join("/")}.rs`;
        return rust.some(([name, text]) => `/${name}`.endsWith(`/${file}`) && text.includes(`fn ${fact}(`));
    };
    const quoted = page.split("\n").filter((line) => line.startsWith("|")).join("\n").matchAll(/(?:^|[|,`] )"([^"]+)"/gm);
    const titles = [...quoted].map(([, title]) => title);
    assert.ok(titles.length > 8, `${titles.length} browser tests are named`);
    const missing = [...named.filter((path) => !isThere(path)), ...titles.filter((title) => !browser.includes(`"${title}"`))];
    assert.deepEqual(missing, []);
});
