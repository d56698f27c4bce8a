// Shows a hub at work: watches a channel through the browser's own EventSource, publishes, cuts the stream, resumes it.
// Where the hub asks for credentials, a token that is pasted makes a ticket for each stream.

const ROWS_MAX = 500;
const HISTORY_LIMIT = 1000;
const COUNT_INTERVAL_MS = 500;
const RETRY_MS = 1000;
const ONE_LINE_CHARACTERS_MAX = 64;
const OWN_TYPES = ["open", "error", "message", "tidings.position", "tidings.gap", "tidings.end"];

const part = (id) => document.getElementById(id);
const plural = (count) => (count === 1 ? "1 event" : `${count} events`);

/**
 * What is watched.
 *
 * `lastId` is where a resume begins, `cursor` its offset, `overtaken` the offsets above it that came early.
 * `absence` is there from the loss of the stream until all that was missed has been read.
 */
const stream = { names: new Set() };
let numbered = 0;
/** Nowhere but here: what is kept elsewhere outlives the page, and what is in an address is in every log. */
let token = "";

// Watching

function watch(channel) {
    stream.source?.close();
    const nothing = { lastId: "", cursor: 0, overtaken: new Set(), absence: null, received: 0, replayed: 0 };
    Object.assign(stream, nothing, { channel });
    part("channel").value = channel;
    if (!isPattern(channel)) part("target").value = channel;
    part("events").replaceChildren();
    writeCurl();
    for (const name of part("names").value.split(/[\s,]+/).filter(Boolean)) stream.names.add(name);
    document.title = `${channel} · Tidings`;
    open("connecting", `Connecting to ${channel}…`);
}

function writeCurl() {
    const bearer = token ? '-H "Authorization: Bearer $TOKEN" ' : "";
    part("curl").value = `curl -N ${bearer}'${address(`events/${segment(stream.channel)}`)}'`;
}

/** A new EventSource sends no `Last-Event-ID`, so the place to resume from goes into the query. */
async function open(state, text) {
    stream.source?.close();
    const attempt = (stream.attempt = {});
    show(state, text);
    const query = stream.lastId ? { lastEventId: stream.lastId } : {};
    if (token) {
        const answer = await ask("tickets", { channels: [stream.channel] });
        if (attempt !== stream.attempt) return;
        if (!answer.ok) return turnedAway(answer);
        query.ticket = answer.told.ticket;
    }
    stream.source = new EventSource(address(`events/${segment(stream.channel)}`, query));
    for (const type of OWN_TYPES) stream.source.addEventListener(type, handle);
    stream.names.forEach(hear);
}

/** What is only for now is tried again; what the hub has refused waits for the reader. */
function turnedAway({ status, problem, retryAfter }) {
    if (status && ![429, 503].includes(status)) return refused(problem);
    const wait = Math.max(retryAfter * 1000, RETRY_MS * (1 + Math.random()));
    comeBack(wait, problem?.detail ?? "The hub does not answer; the page tries again.");
}

function comeBack(wait, text) {
    stream.source?.close();
    const attempt = (stream.attempt = {});
    show("resuming", text);
    setTimeout(() => attempt === stream.attempt && open("resuming", "Resuming with a new ticket…"), wait);
}

function refused(problem) {
    advise(problem?.code, stream.channel);
    show("refused", problem?.detail ?? "The hub closed this stream; watch again to open a new one.");
}

/** Listens for events of this name from now on; a listener that is there already is not added again. */
function hear(name) {
    stream.names.add(name);
    stream.source.addEventListener(name, handle);
}

function handle(event) {
    if (event.currentTarget !== stream.source) return;
    // A publisher may call an event `open` or `error`: only what is a MessageEvent came over the stream.
    if (!(event instanceof MessageEvent)) return event.type === "open" ? opened() : failed(event.currentTarget);
    const offset = follow(event.lastEventId);
    if (event.type === "tidings.gap") tellGap(JSON.parse(event.data));
    else if (event.type === "tidings.end") tellEnd(JSON.parse(event.data));
    else if (event.type !== "tidings.position") arrived(event, offset);
    settle();
    refresh();
}

async function opened() {
    const { absence } = stream;
    advise(null);
    show("live", absence ? "Back, reading what was missed…" : `Watching ${stream.channel}`);
    if (!absence || absence.isCounted) return settle();
    // The browser came back by itself: what it missed is counted only now, and may have arrived already.
    const isCounted = await count(absence);
    if (absence !== stream.absence) return;
    if (!isCounted) return abandon("Back. How much was missed cannot be told here.");
    absence.isCounted = true;
    absence.heard.forEach(markReplayed);
    settle();
}

async function failed(source) {
    if (source.readyState === EventSource.CONNECTING) {
        if (stream.lastId) leave();
        if (!token) return show("resuming", "The connection broke; the browser comes back by itself.");
        // Its ticket is spent, so the browser would be refused: the page comes back in its place.
        return comeBack(RETRY_MS * (1 + Math.random()), "The connection broke; the page comes back with a new ticket.");
    }
    show("refused", "The hub refused this stream.");
    // An EventSource does not tell why it was refused, the same request by fetch does.
    const stop = new AbortController();
    const answer = await request(`events/${segment(stream.channel)}`, { signal: stop.signal, isRead: false });
    stop.abort();
    if (source !== stream.source) return;
    if (token && answer.problem) return turnedAway(answer);
    refused(answer.problem);
}

/** Keeps the id that was brought, and returns the offset of the event that brought it; null where it brought none. */
function follow(id) {
    if (id === stream.lastId) return null;
    const [place, ...skips] = id.split(".");
    const cursor = Number(place.split("-")[1]);
    const overtaken = skips.map((skip) => cursor + Number(skip.split("-")[0]));
    const overtaking = overtaken.find((offset) => !stream.overtaken.has(offset));
    Object.assign(stream, { lastId: id, cursor, overtaken: new Set(overtaken) });
    return overtaking ?? cursor;
}

function arrived(event, offset) {
    stream.received += 1;
    const parts = [
        element("span", "offset", offset === null ? "not stored" : `#${offset}`),
        element("time", "", new Date().toTimeString().slice(0, 8)),
        ...(event.type === "message" ? [] : [element("span", "name code", event.type)]),
        element("pre", "code", pretty(event.data)),
    ];
    const row = addRow("event", parts);
    stream.absence?.heard.set(offset, row);
    markReplayed(row, offset);
}

function tellGap({ channels, reason }) {
    if (stream.absence) stream.absence.gap = reason;
    addNote("loss", `Gap (${reason}): events of ${channels.join(", ")} are gone and cannot be replayed`);
}

function tellEnd({ reason, reconnect }) {
    addNote("loss", `The hub ended the stream: ${reason}`);
    if (reconnect) return;
    stream.source.close();
    refused({ code: reason, detail: `The hub ended the stream for good: ${reason}.` });
}

// Cutting and resuming

function leave() {
    const nothing = { newest: 0, missed: new Set(), heard: new Map(), gap: "", isCounted: false };
    stream.absence ??= { ...nothing, after: stream.lastId };
}

function cut() {
    stream.source.close();
    stream.attempt = null;
    leave();
    addNote("cut", `Cut after #${stream.cursor}`);
    show("cut", "The stream is closed. Publish something meanwhile, then resume.");
    keepCounting(stream.absence);
}

async function resume() {
    const { absence } = stream;
    show("resuming", "Resuming…");
    absence.isCounted = await count(absence);
    if (absence !== stream.absence) return;
    addNote("resume", `Resumed after #${stream.cursor}`);
    open("resuming", "Resuming…");
}

async function keepCounting(absence) {
    while (absence === stream.absence && document.body.dataset.state === "cut") {
        await count(absence);
        await new Promise((resolve) => setTimeout(resolve, COUNT_INTERVAL_MS));
    }
}

/** Asks the history what was stored since, and learns the names to listen for; false where there is no answer. */
async function count(absence) {
    if (isPattern(stream.channel)) return false;
    for (let isMore = true; isMore; ) {
        const query = { limit: HISTORY_LIMIT, after: absence.after };
        const { told: page } = await request(`channels/${segment(stream.channel)}/events`, { query });
        if (!page || absence !== stream.absence) return false;
        for (const event of page.events) {
            absence.missed.add(event.offset);
            Object.assign(absence, { newest: event.offset, after: event.id });
            if (event.event) hear(event.event);
        }
        isMore = page.next !== null;
    }
    refresh();
    return true;
}

function markReplayed(row, offset) {
    if (!stream.absence?.missed.has(offset) || row.classList.contains("replayed")) return;
    row.classList.add("replayed");
    row.querySelector("time").after(element("span", "badge", "replayed"));
}

/** Tells how the resume went, once the cursor has passed everything that was missed. */
function settle() {
    const { absence } = stream;
    const isDone = absence?.isCounted && stream.cursor >= absence.newest && document.body.dataset.state === "live";
    if (!isDone) return;
    const replayed = [...absence.missed].filter((offset) => absence.heard.has(offset)).length;
    stream.replayed += replayed;
    const superseded = absence.missed.size - replayed;
    const rest = superseded ? `${superseded} superseded or expired` : "none missing";
    const text = `${plural(replayed)} replayed, ${absence.gap ? `after a gap (${absence.gap})` : rest}`;
    addNote(absence.gap ? "loss" : "whole", text);
    abandon(text);
}

function abandon(text) {
    stream.absence = null;
    show("live", text);
}

// Publishing

async function publish(messages) {
    if (messages[0].event) hear(messages[0].event);
    const { ok, told, problem } = await ask("publish", messages);
    part("answer").classList.toggle("bad", !ok);
    if (!ok) {
        part("answer").textContent = problem?.detail ?? "The hub does not answer.";
        return advise(problem?.code, messages[0].channels[0]);
    }
    if (document.body.dataset.state === "live") advise(null);
    const offsets = told.map(({ offset }) => `#${offset}`);
    part("answer").textContent = `Stored at ${[...new Set([offsets[0], offsets.at(-1)])].join(" to ")}`;
}

function message(data) {
    const [channel, event, priority] = ["target", "event", "priority"].map((id) => part(id).value);
    return { channels: [channel], event: event || undefined, priority, data };
}

function publishNumbered() {
    const numbers = Array.from({ length: 10 }, () => (numbered += 1));
    return publish(numbers.map((number) => message({ number })));
}

// Credentials

const ADVICE = {
    credentials_missing: "This hub asks who you are. Paste a token, such as this command prints:",
    bad_credentials: "This hub does not know the token. Where it has a secret, this command prints a good one:",
    token_expired: "Paste a new token: the stream goes on where it was. This command prints one:",
    revoked: "The token was taken back. A new one, such as this command prints, may do:",
    access_denied: "What was pasted does not allow this. A token that does, where the hub has a secret:",
};

/** Says what to do about a refusal that a token could help, and takes back what was said of an earlier one. */
function advise(code, channel) {
    const text = ADVICE[code];
    part("advice").hidden = !text;
    if (!text) return;
    const quoted = `'${channel.replace(/'/g, "'\\''")}'`;
    part("advice-text").textContent = text;
    part("advice-line").textContent = `tidings token --sub me --subscribe ${quoted} --publish ${quoted}`;
    part("credentials-details").open = true;
}

/** Takes the token that was pasted, or none, and goes on with the stream from where it was. */
function useToken() {
    const pasted = part("token").value.trim();
    if (!/^[\x21-\x7e]*$/.test(pasted)) return refused({ detail: "A token is one line of letters, digits and dots." });
    token = pasted;
    if (stream.lastId) leave();
    advise(null);
    writeCurl();
    open(stream.lastId ? "resuming" : "connecting", `Connecting to ${stream.channel}…`);
}

// Asking the hub

const ask = (path, body) =>
    request(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

/** Asks with the token, where there is one. `status` is 0 where no answer came. */
async function request(path, { query, headers, isRead = true, ...how } = {}) {
    const credentials = token ? { Authorization: `Bearer ${token}` } : {};
    try {
        const answer = await fetch(address(path, query), { ...how, headers: { ...credentials, ...headers } });
        const { ok, status } = answer;
        const body = isRead || !ok ? await answer.json().catch(() => null) : null;
        const retryAfter = Number(answer.headers.get("Retry-After"));
        return { ok, status, retryAfter, told: ok ? body : null, problem: ok ? null : body };
    } catch {
        // No connection; or what was pasted cannot even stand in a header.
        return { ok: false, status: 0, retryAfter: 0, told: null, problem: null };
    }
}

// Names and addresses

/** A pattern has no history of its own, so what it missed is replayed, but cannot be counted beforehand. */
const isPattern = (channel) => channel.includes("*");

/** Keeps what a channel may hold readable; a quote would end the quotes around the curl line's address. */
function segment(channel) {
    return encodeURIComponent(channel).replace(/%3A/g, ":").replace(/%40/g, "@").replace(/'/g, "%27");
}

function address(path, query = {}) {
    const url = new URL(`api/v1/${path}`, document.baseURI);
    url.search = new URLSearchParams(query);
    return url;
}

function channelOfHash() {
    const text = location.hash.slice(1);
    try {
        return decodeURIComponent(text);
    } catch {
        return text;
    }
}

// Showing

function element(tag, className, text) {
    const made = document.createElement(tag);
    made.className = className;
    made.textContent = text;
    return made;
}

function addRow(className, parts) {
    const row = element("li", className, "");
    row.append(...parts);
    part("events").prepend(row);
    if (part("events").children.length > ROWS_MAX) part("events").lastElementChild.remove();
    return row;
}

const addNote = (kind, text) => addRow(`note ${kind}`, [element("span", "", text)]);

/** JSON that says the same when it is written anew is laid out, any other text is left alone. */
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

function show(state, text) {
    document.body.dataset.state = state;
    part("state").textContent = state;
    part("status").textContent = text;
    refresh();
}

function refresh() {
    const { state } = document.body.dataset;
    const missed = stream.absence?.missed.size ?? 0;
    part("received").textContent = stream.received;
    part("replayed").textContent = stream.replayed;
    part("waiting").textContent = state === "cut" && !isPattern(stream.channel) ? `${missed} waiting` : "";
    part("cut").textContent = state === "cut" ? "Resume" : "Cut the stream";
    // Before the first id there is no place to resume from.
    part("cut").disabled = !(state === "cut" || (state === "live" && stream.lastId));
}

part("watch").addEventListener("submit", (event) => {
    event.preventDefault();
    const hash = `#${segment(part("channel").value.trim())}`;
    if (hash === location.hash) watch(channelOfHash());
    else location.hash = hash;
});
part("credentials").addEventListener("submit", (event) => {
    event.preventDefault();
    useToken();
});
part("publish").addEventListener("submit", (event) => {
    event.preventDefault();
    publish([message(part("data").value)]);
});
part("publish").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) part("publish").requestSubmit();
});
part("numbered").addEventListener("click", publishNumbered);
part("cut").addEventListener("click", () => (document.body.dataset.state === "cut" ? resume() : cut()));
part("copy").addEventListener("click", async () => {
    part("curl").select();
    // Where the browser keeps the clipboard from the page, the line is at least selected.
    const isCopied = await navigator.clipboard?.writeText(part("curl").value).then(() => true, () => false);
    part("copy").textContent = isCopied ? "Copied" : "Selected";
});
addEventListener("hashchange", () => watch(channelOfHash()));

if (location.hash.length > 1) watch(channelOfHash());
else location.hash = "#hello";
