import { EventSource } from "extended-eventsource";
import { watch } from "../protocol.js";

export default (url) => watch(new EventSource(url));
