import polyfill from "event-source-polyfill";
import { watch } from "../protocol.js";

export default (url) => watch(new polyfill.EventSourcePolyfill(url));
