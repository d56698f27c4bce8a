// The demo page: watches a channel, publishes, cuts the stream and resumes it. This file wires the parts.

import { address, hasToken, isPattern, post, segment, setToken } from "./hub.js";
import { LANGUAGES } from "./snippets.js";
import { advise, part, pause, state } from "./view.js";
import { channel, clear, cut, idle, reopen, resume, watch } from "./watch.js";

const COPIED_MS = 1500;
let numbered = 0;

// Publishing

async function publish(messages) {
    const { ok, body, problem } = await post("publish", messages);
    answer(ok ? storedAt(body) : (problem?.detail ?? "The hub does not answer."), !ok);
    if (!ok) advise(problem?.code, messages[0].channels[0]);
    else if (state() === "live") advise(null);
}

function storedAt(list) {
    const offsets = list.map(({ offset }) => `#${offset}`);
    return `Stored at ${[...new Set([offsets[0], offsets.at(-1)])].join(" to ")}`;
}

function answer(text, isBad = false) {
    part("answer").textContent = text;
    part("answer").classList.toggle("bad", isBad);
}

function message(data) {
    const [target, event, priority] = ["target", "event", "priority"].map((id) => part(id).value);
    return { channels: [target], event: event || undefined, priority, data };
}

function publishNumbered() {
    const numbers = Array.from({ length: 10 }, () => (numbered += 1));
    return publish(numbers.map((number) => message({ number })));
}

// Credentials

const token = () => part("token").value.trim();

/** Uses the pasted token, or none, and resumes the stream. */
function useToken() {
    setToken(token());
    writeSnippets();
    reopen();
}

// Snippets

function writeSnippets() {
    const chosen = document.querySelector("[name=language]:checked").value;
    const language = LANGUAGES[chosen];
    part("snippets").dataset.language = chosen;
    const [target, event, priority] = ["target", "event", "priority"].map((id) => part(id).value);
    const options = { ...(event && { event }), ...(priority !== "normal" && { priority }) };
    const common = { channel: channel(), event, ticketUrl: address("tickets").href, hasToken: hasToken() };
    const watched = address(`events/${segment(channel())}`).href;
    const published = address(`events/${segment(target)}`, options).href.replace(/'/g, "%27");
    part("snippet-watch").textContent = language.watch({ ...common, url: watched });
    part("snippet-publish").textContent = language.publish({ ...common, url: published, data: part("data").value });
}

async function copy(button) {
    const source = part(button.dataset.copies);
    getSelection().selectAllChildren(source);
    // If the browser denies the clipboard, the text is at least selected.
    const isCopied = await navigator.clipboard?.writeText(source.textContent).then(() => true, () => false);
    button.textContent = isCopied ? "Copied" : "Selected";
    setTimeout(() => (button.textContent = "Copy"), COPIED_MS);
}

// Wiring

const on = (id, type, handle) => part(id).addEventListener(type, handle);
const onSubmit = (id, handle) =>
    on(id, "submit", (event) => {
        event.preventDefault();
        handle();
    });

function channelOfHash() {
    const text = location.hash.slice(1);
    try {
        return decodeURIComponent(text);
    } catch {
        return text;
    }
}

function watchHash() {
    const name = channelOfHash();
    part("channel").value = name;
    if (!isPattern(name)) part("target").value = name;
    document.title = `${name} · Tidings`;
    answer("");
    watch(name);
    writeSnippets();
}

on("watch", "input", () => {
    // The refusal was about another channel.
    if (state() === "refused") idle();
});
onSubmit("watch", () => {
    const hash = `#${segment(part("channel").value.trim())}`;
    if (hash === location.hash) watchHash();
    else location.hash = hash;
});
on("token", "input", () => {
    const isLine = /^[\x21-\x7e]*$/.test(token());
    part("token").setCustomValidity(isLine ? "" : "A token is one line of letters, digits and dots.");
});
onSubmit("credentials", useToken);
onSubmit("publish", () => publish([message(part("data").value)]));
on("publish", "keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) part("publish").requestSubmit();
});
on("publish", "input", () => {
    // The error was about another text.
    if (part("answer").classList.contains("bad")) answer("");
    writeSnippets();
});
on("numbered", "click", publishNumbered);
on("cut", "click", () => (state() === "cut" ? resume() : cut()));
on("pause", "click", pause);
on("clear", "click", clear);
on("languages", "change", writeSnippets);
for (const button of document.querySelectorAll("[data-copies]")) button.addEventListener("click", () => copy(button));
addEventListener("hashchange", watchHash);

if (location.hash.length > 1) watchHash();
else location.hash = "#hello";
