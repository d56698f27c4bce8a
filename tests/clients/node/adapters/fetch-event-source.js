import { event, fault, open } from "../protocol.js";

// The library reads `document.hidden`.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import("@microsoft/fetch-event-source");

export default (url) =>
    fetchEventSource(url, {
        onopen: async (response) => (response.ok ? open() : fault(response.status)),
        onmessage: (it) => event(it.event, it.data, it.id),
        // Without this the library does not reconnect after the end of a stream.
        onclose() {
            throw new Error("the stream ended");
        },
        onerror: fault,
    });
