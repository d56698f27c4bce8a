// The state of the stream and the list of events, as the page shows them.

import { isPattern } from "./hub.js";

const ROWS_MAX = 500;
const ONE_LINE_CHARACTERS_MAX = 64;

/** Sentences for the reasons of `tidings.gap`. The page shows a reason of a later hub as it is. */
const LOSSES = {
    trimmed: "the hub removed them before this page came back",
    lagged: "the hub removed them before this page had read them",
    epoch: "the hub's log began anew",
    diverged: "the hub's log went back, and went on with other events",
    ahead: "the hub lost its newest events",
    malformed: "the hub could not read where this page had stopped",
};

export const part = (id) => document.getElementById(id);

/** Rows held back while the list is paused, oldest first; null while it is not paused. */
let held = null;

export function element(tag, className, text) {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    return made;
}

export function addEvent({ channel, type, data, offset, isReplayed }) {
    const head = [
        element("span", "offset", offset === null ? "not stored" : `#${offset}`),
        element("time", "", new Date().toTimeString().slice(0, 8)),
        element("span", "channel code", channel),
        ...(type === "message" ? [] : [element("span", "name code", type)]),
        ...(isReplayed ? [element("span", "badge", "replayed")] : []),
    ];
    addRow(`event${isReplayed ? " replayed" : ""}`, [...head, element("pre", "code", pretty(data))]);
}

export const addNote = (kind, text) => addRow(`note ${kind}`, [element("span", "", text)]);

export function addGap({ channels, reason }) {
    addNote("loss", `Some events were lost: ${LOSSES[reason] ?? reason} (${channels.join(", ")}; ${reason}).`);
}

function addRow(className, parts) {
    const row = element("li", className, "");
    row.append(...parts);
    if (!held) return insert([row]);
    held.push(row);
    if (held.length > ROWS_MAX) held.shift();
    showPause();
}

function insert(rows) {
    const list = part("events");
    rows.forEach((row) => list.prepend(row));
    while (list.children.length > ROWS_MAX) list.lastElementChild.remove();
    part("clear").disabled = list.children.length === 0;
}

export function clearEvents() {
    part("events").replaceChildren();
    if (held) held = [];
    part("clear").disabled = true;
    showPause();
}

/** Pauses the list, or inserts the rows held back. */
export function pause() {
    const rows = held ?? [];
    held = held ? null : [];
    insert(rows);
    showPause();
}

function showPause() {
    part("pause").setAttribute("aria-pressed", String(held !== null));
    part("held").textContent = held?.length ? `${held.length} held back` : "";
}

/** Indents JSON if that keeps its meaning; returns any other text unchanged. */
function pretty(text) {
    const bare = (json) => json.replace(/\s/g, "");
    try {
        const value = JSON.parse(text);
        if (text.length <= ONE_LINE_CHARACTERS_MAX || bare(JSON.stringify(value)) !== bare(text)) return text;
        return JSON.stringify(value, null, 2);
    } catch {
        return text;
    }
}

export const state = () => document.body.dataset.state;

export function show(name, text) {
    document.body.dataset.state = name;
    part("state").textContent = name;
    part("status").textContent = text;
}

export function showCounts({ channel, received, replayed, absence, lastId }) {
    const isCut = state() === "cut";
    part("received").textContent = received;
    part("replayed").textContent = replayed;
    part("waiting").textContent = isCut && !isPattern(channel) ? `${absence?.missed.size ?? 0} waiting` : "";
    part("cut").textContent = isCut ? "Resume" : "Cut the stream";
    // Without an id the stream cannot resume.
    part("cut").disabled = !(isCut || (state() === "live" && lastId));
}

const ADVICE = {
    credentials_missing: "This hub needs credentials. Paste a token, such as this command prints:",
    bad_credentials: "This hub does not know the token. If the hub has a secret, this command prints a good one:",
    token_expired: "Paste a new token: the stream then resumes. This command prints one:",
    revoked: "The token was revoked. Paste a new one, such as this command prints:",
    access_denied: "The token does not allow this. If the hub has a secret, this command prints one that does:",
};

/** Shows how to get a token that helps against this refusal, or removes earlier advice. */
export function advise(code, channel) {
    const text = ADVICE[code];
    part("advice").hidden = !text;
    if (!text) return;
    const quoted = `'${channel.replace(/'/g, "'\\''")}'`;
    part("advice-text").textContent = text;
    part("advice-line").textContent = `tidings token --sub me --subscribe ${quoted} --publish ${quoted}`;
    part("credentials-details").open = true;
}
