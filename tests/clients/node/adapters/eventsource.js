import { EventSource } from "eventsource";
import { watch } from "../protocol.js";

export default (url) => watch(new EventSource(url));
