// The line protocol of adapters: `open` for each stream that opens, `event {json}` for each message that a library hands out.

/** Names of the events that the test publishes, and of those of the hub that an application may meet. */
export const NAMES = ["message", "note", "tidings.position", "tidings.gap", "tidings.end"];

/** How long an application waits that has to reconnect by itself. */
const RECONNECT_MS = 300;

const line = (text) => process.stdout.write(`${text}\n`);

/** A stream has opened. */
export const open = () => line("open");

/** A library handed out a message. */
export function event(name, data, id) {
    line(`event ${JSON.stringify({ name: name || "message", data: data ?? null, id: id ?? null })}`);
}

/** Something went wrong, told for the reader of a failed test. */
export const fault = (error) => line(`fault ${error?.message ?? error}`);

/** Waits as an application does before it connects again. */
export const pause = () => new Promise((over) => setTimeout(over, RECONNECT_MS));

/** Tells all that an object with the interface of `EventSource` dispatches. */
export function watch(source) {
    source.addEventListener("open", open);
    // An `Event` is the source's own error, a `MessageEvent` would be an event of this name.
    source.addEventListener("error", (error) => fault(error.message || "connection lost"));
    for (const name of NAMES) {
        source.addEventListener(name, ({ data, lastEventId }) => event(name, data, lastEventId));
    }
}
