// A hub with credentials: a secret for tokens, and an API key for the test as backend.

import { createHash, createHmac, randomBytes } from "node:crypto";
import { startServer } from "./server.js";

/** Starts a hub that needs credentials. `lines` are further lines of its settings file, beginning with those of `[auth]`. */
export async function startProtected(test, { lines = "", ...options } = {}) {
    const secret = randomBytes(48).toString("base64");
    const key = `tk_${randomBytes(32).toString("base64url")}`;
    const hash = createHash("sha256").update(key).digest("hex");
    const config = `
[auth]
secret = "${secret}"
leeway = "0s"
${lines}
[[auth.keys]]
name = "backend"
hash = "sha256:${hash}"
rights = ["publish", "subscribe", "manage"]
publish = ["**"]
subscribe = ["**"]
`;
    const headers = { Authorization: `Bearer ${key}` };
    const server = await startServer(test, { ...options, config, headers });
    return { ...server, key, token: (rights, seconds) => token(secret, rights, seconds) };
}

/** A token of `me`, signed as by a backend, valid for so many seconds. */
function token(secret, { sub = "me", ...rights } = {}, seconds = 600) {
    const now = Date.now() / 1000;
    const claims = { sub, iat: Math.floor(now), exp: now + seconds, tidings: rights };
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
    return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
