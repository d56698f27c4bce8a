import EventSource from "eventsource-2";
import { watch } from "../protocol.js";

export default (url) => watch(new EventSource(url));
