import { event, fault, open } from "../protocol.js";

// The library asks a page whether it is hidden.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import("@microsoft/fetch-event-source");

export default (url) =>
    fetchEventSource(url, {
        onopen: async (response) => (response.ok ? open() : fault(response.status)),
        onmessage: (it) => event(it.event, it.data, it.id),
        // Without this the library takes a stream that ends for one that has nothing more to say.
        onclose() {
            throw new Error("the stream ended");
        },
        onerror: fault,
    });
