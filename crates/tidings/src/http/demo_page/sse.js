// Server-Sent Events, read by `fetch`: an EventSource dispatches only names with a listener, and hides the reason of a refusal.

const LINE_END = /\r\n|\r|\n/;

/** Parses a stream from its bytes, as the HTML standard says. */
export class EventParser {
    /** The reconnection time that the server asked for, in milliseconds. */
    retryMs = null;
    /** The id of the newest block with an id. */
    lastId = "";
    #decoder = new TextDecoder();
    #rest = "";
    #endsWithCr = false;
    #idSoFar = "";
    #block = emptyBlock();

    /**
     * Takes bytes and returns the blocks that are now complete, as `{ type, data, id }`.
     *
     * `data` is null for a block without data, and `id` for a block without id.
     */
    push(bytes) {
        let text = this.#decoder.decode(bytes, { stream: true });
        if (text === "") return [];
        // CR and LF are one line end, also if they come in two parts.
        if (this.#endsWithCr && text.startsWith("\n")) text = text.slice(1);
        this.#endsWithCr = text.endsWith("\r");
        const lines = (this.#rest + text).split(LINE_END);
        this.#rest = lines.pop();
        return lines.map((line) => this.#read(line)).filter(Boolean);
    }

    #read(line) {
        if (line === "") return this.#dispatch();
        const colon = line.indexOf(":");
        const name = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (name === "data") this.#block.data.push(value);
        else if (name === "event") this.#block.type = value;
        else if (name === "id" && !value.includes("\0")) this.#idSoFar = this.#block.id = value;
        else if (name === "retry" && /^[0-9]+$/.test(value)) this.retryMs = Number(value);
        return null;
    }

    #dispatch() {
        const { type, data, id } = this.#block;
        this.#block = emptyBlock();
        this.lastId = this.#idSoFar;
        return { type: type || "message", data: data.length > 0 ? data.join("\n") : null, id };
    }
}

const emptyBlock = () => ({ type: "", data: [], id: null });

/**
 * Opens the stream at `url` and reads it to its end. Calls `onOpen` after a response with status 200, and `onBlock` with each block.
 *
 * Returns the response, or null without one, and the reconnection time that the server asked for.
 */
export async function readStream(url, { headers, signal, onOpen, onBlock }) {
    const parser = new EventParser();
    const accept = { Accept: "text/event-stream" };
    const response = await fetch(url, { headers: { ...accept, ...headers }, cache: "no-store", signal }).catch(() => null);
    if (response?.status !== 200) return { response, retryMs: null };
    onOpen();
    const reader = response.body.getReader();
    for (;;) {
        // A connection that breaks ends the stream like any other end.
        const { done, value } = await reader.read().catch(() => ({ done: true }));
        if (done) return { response, retryMs: parser.retryMs };
        parser.push(value).forEach(onBlock);
    }
}
