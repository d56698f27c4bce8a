import { EventSource } from "eventsource";
import module from "reconnecting-eventsource";
import { watch } from "../protocol.js";

const Reconnecting = module.default ?? module;

// Wraps a page's EventSource; here that of npm.
export default (url) => watch(new Reconnecting(url, { eventSourceClass: EventSource }));
