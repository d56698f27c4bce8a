// Requests to the hub, with the token if the page has one, and the addresses of its routes.

/** Kept in memory only: storage would outlive the page, and every log contains addresses. */
let token = "";

export const hasToken = () => token !== "";
export const setToken = (text) => (token = text);
export const credentials = () => (token ? { Authorization: `Bearer ${token}` } : {});

/** The hub has no history of a pattern: it replays missed events, and the page cannot count them beforehand. */
export const isPattern = (channel) => channel.includes("*");

/** Encodes a channel for a path. Characters of names stay readable; quotes are encoded for shells. */
export function segment(channel) {
    return encodeURIComponent(channel).replace(/%3A/g, ":").replace(/%40/g, "@").replace(/'/g, "%27");
}

export function address(path, query = {}) {
    const url = new URL(`api/v1/${path}`, document.baseURI);
    url.search = new URLSearchParams(query);
    return url;
}

/** Sends a request. `status` is 0 if no response came; `body` is the answer, `problem` the problem document. */
export async function request(path, { query, headers, ...options } = {}) {
    try {
        const response = await fetch(address(path, query), { ...options, headers: { ...credentials(), ...headers } });
        return await outcome(response);
    } catch {
        return { ok: false, status: 0, retryAfter: 0, body: null, problem: null };
    }
}

/** The parts of a response that the page uses. */
export async function outcome(response) {
    const { ok, status } = response;
    const body = await response.json().catch(() => null);
    const retryAfter = Number(response.headers.get("Retry-After"));
    return { ok, status, retryAfter, body: ok ? body : null, problem: ok ? null : body };
}

export const post = (path, body) =>
    request(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
