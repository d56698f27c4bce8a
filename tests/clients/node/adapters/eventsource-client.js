import { createEventSource } from "eventsource-client";
import { event, open } from "../protocol.js";

export default (url) => createEventSource({ url, onConnect: open, onMessage: (it) => event(it.event, it.data, it.id) });
