import { EventSource } from "undici";
import { watch } from "../protocol.js";

export default (url) => watch(new EventSource(url));
