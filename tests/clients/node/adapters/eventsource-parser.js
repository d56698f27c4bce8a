import { EventSourceParserStream } from "eventsource-parser/stream";
import { event, fault, open, pause } from "../protocol.js";

// A parser: the application fetches, keeps the id and connects again.
export default async function read(url) {
    let lastId;
    for (;;) {
        try {
            const headers = lastId ? { "Last-Event-ID": lastId } : {};
            const { body } = await fetch(url, { headers });
            open();
            for await (const it of body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream())) {
                lastId = it.id ?? lastId;
                event(it.event, it.data, it.id);
            }
        } catch (error) {
            fault(error.cause?.message ?? error);
        }
        await pause();
    }
}
