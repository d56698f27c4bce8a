import { EventSourcePlus } from "event-source-plus";
import { event, fault, open } from "../protocol.js";

export default function read(url) {
    new EventSourcePlus(url).listen({
        onResponse: ({ response }) => response.ok && open(),
        onRequestError: ({ error }) => fault(error),
        onMessage: (it) => event(it.event, it.data, it.id),
    });
}
