// Shows a hub at work: watches a channel through the browser's own EventSource, publishes, cuts the stream, resumes it.

const ROWS_MAX = 500;
const HISTORY_LIMIT = 1000;
const COUNT_INTERVAL_MS = 500;
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

// Watching

function watch(channel) {
    stream.source?.close();
    const nothing = { lastId: "", cursor: 0, overtaken: new Set(), absence: null, received: 0, replayed: 0 };
    Object.assign(stream, nothing, { channel });
    part("channel").value = channel;
    if (!isPattern(channel)) part("target").value = channel;
    part("events").replaceChildren();
    part("curl").value = `curl -N '${address(`events/${segment(channel)}`)}'`;
    for (const name of part("names").value.split(/[\s,]+/).filter(Boolean)) stream.names.add(name);
    document.title = `${channel} · Tidings`;
    open("connecting", `Connecting to ${channel}…`);
}

/** A new EventSource sends no `Last-Event-ID`, so the place to resume from goes into the query. */
function open(state, text) {
    const url = address(`events/${segment(stream.channel)}`, stream.lastId ? { lastEventId: stream.lastId } : {});
    stream.source = new EventSource(url);
    for (const type of OWN_TYPES) stream.source.addEventListener(type, handle);
    stream.names.forEach(hear);
    show(state, text);
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
        return show("resuming", "The connection broke; the browser comes back by itself.");
    }
    show("refused", "The hub refused this stream.");
    // An EventSource does not tell why it was refused, the same request by fetch does.
    const answer = await fetch(source.url).catch(() => null);
    const problem = answer && !answer.ok ? await answer.json().catch(() => null) : null;
    answer?.body?.cancel().catch(() => {});
    if (source !== stream.source) return;
    show("refused", problem?.detail ?? "The hub closed this stream; watch again to open a new one.");
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
    show("refused", `The hub ended the stream for good: ${reason}.`);
}

// Cutting and resuming

function leave() {
    const nothing = { newest: 0, missed: new Set(), heard: new Map(), gap: "", isCounted: false };
    stream.absence ??= { ...nothing, after: stream.lastId };
}

function cut() {
    stream.source.close();
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
        const answer = await fetch(address(`channels/${segment(stream.channel)}/events`, query)).catch(() => null);
        const page = answer?.ok ? await answer.json().catch(() => null) : null;
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
    const request = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(messages) };
    const answer = await fetch(address("publish"), request).catch(() => null);
    const told = await answer?.json().catch(() => null);
    part("answer").classList.toggle("bad", !answer?.ok);
    if (!answer?.ok) {
        part("answer").textContent = told?.detail ?? "The hub does not answer.";
        return;
    }
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
