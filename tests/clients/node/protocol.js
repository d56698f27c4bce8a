// The line protocol of adapters: `open` for each stream that opens, `event {json}` for each message that a library hands out.

/** Names of the events that the test publishes, and of the hub's own events. */
export const NAMES = ["message", "note", "tidings.position", "tidings.gap", "tidings.end"];

/** Delay before an application reconnects by itself. */
const RECONNECT_MS = 300;

const line = (text) => process.stdout.write(`${text}\n`);

/** Reports an opened stream. */
export const open = () => line("open");

/** Reports a message that a library handed out. */
export function event(name, data, id) {
    line(`event ${JSON.stringify({ name: name || "message", data: data ?? null, id: id ?? null })}`);
}

/** Reports a fault for the reader of a failed test. */
export const fault = (error) => line(`fault ${error?.message ?? error}`);

/** Waits before reconnecting, as an application does. */
export const pause = () => new Promise((over) => setTimeout(over, RECONNECT_MS));

/** Reports all events of an object with the interface of `EventSource`. */
export function watch(source) {
    source.addEventListener("open", open);
    // An `Event` is the source's own error, a `MessageEvent` would be an event of this name.
    source.addEventListener("error", (error) => fault(error.message || "connection lost"));
    for (const name of NAMES) {
        source.addEventListener(name, ({ data, lastEventId }) => event(name, data, lastEventId));
    }
}
