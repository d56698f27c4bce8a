// `node client.js <adapter> <url>`: has one library read a stream, until the process is killed.

import { watch } from "./protocol.js";

/** Finds the `EventSource` of each library with its interface. The other libraries have an adapter of their own. */
const EVENT_SOURCES = {
    "event-source-polyfill": (library) => library.default.EventSourcePolyfill,
    eventsource: (library) => library.EventSource,
    "eventsource-1": (library) => library.default,
    "eventsource-2": (library) => library.default,
    "extended-eventsource": (library) => library.EventSource,
    "launchdarkly-eventsource": (library) => library.EventSource,
    undici: (library) => library.EventSource,
};

const [adapter, url] = process.argv.slice(2);
if (adapter in EVENT_SOURCES) {
    const EventSource = EVENT_SOURCES[adapter](await import(adapter));
    watch(new EventSource(url));
} else {
    const { default: read } = await import(`./adapters/${adapter}.js`);
    await read(url);
}
// Some libraries wait for their next attempt without keeping the process alive; an application has other work.
setInterval(() => {}, 60_000);
