import EventSource from "eventsource-1";
import { watch } from "../protocol.js";

export default (url) => watch(new EventSource(url));
