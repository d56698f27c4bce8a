// Watches one channel or pattern: opens its stream, cuts it, resumes it, and counts missed events.

import { address, credentials, isPattern, outcome, request, segment } from "./hub.js";
import { readStream } from "./sse.js";
import { addEvent, addGap, addNote, advise, clearEvents, show, showCounts, state } from "./view.js";

const HISTORY_LIMIT = 1000;
const COUNT_INTERVAL_MS = 500;
const RETRY_MS = 1000;
const RETRY_MAX_MS = 15_000;
/** Upper bound of a timer. */
const WAIT_MAX_MS = 2 ** 31 - 1;
/** Temporary statuses: the hub is full or silent, or a proxy does not reach it. */
const PASSING = [0, 429, 502, 503, 504];

const plural = (count) => (count === 1 ? "1 event" : `${count} events`);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * The watched stream.
 *
 * `lastId` is the id to resume from, `cursor` its offset, `overtaken` the offsets above it that came early. `attempt` is the
 * open request. `absence` exists from the loss of the stream until all missed events have been read.
 */
const stream = { channel: "", attempt: null };
const reset = () => ({ lastId: "", cursor: 0, overtaken: new Set(), absence: null, failures: 0, received: 0, replayed: 0 });
Object.assign(stream, reset());

export const channel = () => stream.channel;

/** Watches another channel, from now. */
export function watch(name) {
    Object.assign(stream, reset(), { channel: name });
    advise(null);
    clearEvents();
    open("connecting", `Connecting to ${name}…`);
}

/** Resumes the stream with the current token. */
export function reopen() {
    if (stream.lastId) leave();
    advise(null);
    if (stream.absence) resume();
    else open("connecting", `Connecting to ${stream.channel}…`);
}

/** Empties the list and begins to count anew. */
export function clear() {
    Object.assign(stream, { received: 0, replayed: 0 });
    clearEvents();
    showCounts(stream);
}

async function open(name, text) {
    stream.attempt?.abort();
    const attempt = (stream.attempt = new AbortController());
    showState(name, text);
    const place = stream.lastId ? { "Last-Event-ID": stream.lastId } : {};
    // The stream then begins with its id, so that the page can resume before the first event.
    const url = address(`events/${segment(stream.channel)}`, { position: "id" });
    const { response, retryMs } = await readStream(url, {
        headers: { ...credentials(), ...place },
        signal: attempt.signal,
        onOpen: () => attempt === stream.attempt && opened(),
        onBlock: (block) => attempt === stream.attempt && take(block),
    });
    if (attempt !== stream.attempt) return;
    if (response?.status === 204) return refused({ detail: "The hub ended this stream for good." });
    if (response?.ok) return comeBack(retryMs ?? RETRY_MS, "The connection broke. The page reconnects by itself.");
    const { status, problem, retryAfter } = response ? await outcome(response) : { status: 0 };
    if (attempt !== stream.attempt) return;
    if (!PASSING.includes(status)) return refused(problem ?? { detail: `The hub answered ${status}.` });
    const wait = Math.min(RETRY_MS * 2 ** stream.failures, RETRY_MAX_MS);
    stream.failures += 1;
    const jittered = wait * (1 + Math.random());
    comeBack(Math.max(jittered, (retryAfter ?? 0) * 1000), problem?.detail ?? "The hub does not answer. The page tries again.");
}

/** Resumes after a pause, unless the user acts meanwhile. */
async function comeBack(wait, text) {
    const attempt = (stream.attempt = new AbortController());
    if (stream.lastId) leave();
    showState("resuming", text);
    await sleep(Math.min(wait, WAIT_MAX_MS));
    if (attempt !== stream.attempt) return;
    if (stream.absence) resume();
    else open("connecting", text);
}

function refused(problem) {
    stream.attempt?.abort();
    stream.attempt = null;
    advise(problem.code, stream.channel);
    showState("refused", problem.detail);
}

/** Forgets a refusal. */
export function idle() {
    advise(null);
    showState("idle", "");
}

function opened() {
    stream.failures = 0;
    advise(null);
    if (stream.absence) addNote("resume", `Resumed after #${stream.cursor}`);
    showState("live", stream.absence ? "Back. Reading missed events…" : `Watching ${stream.channel}`);
    if (stream.absence && !stream.absence.isCounted) finishAbsence("Back. The missed events of a pattern cannot be counted.");
    settle();
}

function take({ type, data, id }) {
    const offset = id === null ? null : follow(id);
    if (type === "tidings.gap") reportGap(JSON.parse(data));
    else if (type === "tidings.end") reportEnd(JSON.parse(data));
    else if (data !== null && !type.startsWith("tidings.")) arrived(type, data, offset);
    settle();
    showCounts(stream);
}

/** Keeps the id, and returns the offset of its event. */
function follow(id) {
    const [place, ...skips] = id.split(".");
    const cursor = Number(place.split("-")[1]);
    const overtaken = skips.map((skip) => cursor + Number(skip.split("-")[0]));
    const overtaking = overtaken.find((offset) => !stream.overtaken.has(offset));
    Object.assign(stream, { lastId: id, cursor, overtaken: new Set(overtaken) });
    return overtaking ?? cursor;
}

function arrived(type, data, offset) {
    const { absence } = stream;
    const isReplayed = Boolean(absence?.missed.has(offset));
    if (isReplayed) absence.heard.add(offset);
    stream.received += 1;
    stream.replayed += isReplayed ? 1 : 0;
    addEvent({ channel: stream.channel, type, data, offset, isReplayed });
}

function reportGap(gap) {
    if (stream.absence) stream.absence.gap = gap.reason;
    addGap(gap);
}

function reportEnd({ reason, reconnect }) {
    addNote("loss", `The hub ended the stream: ${reason}`);
    if (!reconnect) refused({ code: reason, detail: `The hub ended the stream for good: ${reason}.` });
}

// Cutting and resuming

function leave() {
    const nothing = { newest: 0, missed: new Set(), heard: new Set(), gap: "", isCounted: false };
    stream.absence ??= { ...nothing, after: stream.lastId };
}

export function cut() {
    stream.attempt?.abort();
    stream.attempt = null;
    leave();
    addNote("cut", `Cut after #${stream.cursor}`);
    showState("cut", "The stream is closed. Publish an event meanwhile, then resume.");
    keepCounting(stream.absence);
}

/** Counts the missed events, then resumes the stream. */
export async function resume() {
    const { absence, channel } = stream;
    const attempt = (stream.attempt = new AbortController());
    showState("resuming", "Resuming…");
    const isCounted = await count(absence);
    if (attempt !== stream.attempt || channel !== stream.channel) return;
    absence.isCounted = isCounted;
    open("resuming", "Resuming…");
}

async function keepCounting(absence) {
    while (absence === stream.absence && state() === "cut") {
        await count(absence);
        await sleep(COUNT_INTERVAL_MS);
    }
}

/** Reads from history the events stored since; false if the hub does not answer. */
async function count(absence) {
    if (isPattern(stream.channel)) return false;
    for (let isMore = true; isMore; ) {
        const query = { limit: HISTORY_LIMIT, after: absence.after };
        const { body: page } = await request(`channels/${segment(stream.channel)}/events`, { query });
        if (!page || absence !== stream.absence) return false;
        for (const event of page.events) {
            absence.missed.add(event.offset);
            Object.assign(absence, { newest: event.offset, after: event.id });
        }
        isMore = page.next !== null;
    }
    showCounts(stream);
    return true;
}

/** Shows the result of the resume, once the cursor has passed all missed events. */
function settle() {
    const { absence } = stream;
    const isDone = absence?.isCounted && stream.cursor >= absence.newest && state() === "live";
    if (!isDone) return;
    const superseded = absence.missed.size - absence.heard.size;
    const rest = superseded ? `${superseded} superseded or expired` : "none missing";
    const text = `${plural(absence.heard.size)} replayed, ${absence.gap ? `some were lost (${absence.gap})` : rest}`;
    addNote(absence.gap ? "loss" : "whole", text);
    finishAbsence(text);
}

function finishAbsence(text) {
    stream.absence = null;
    showState("live", text);
}

function showState(name, text) {
    show(name, text);
    showCounts(stream);
}
