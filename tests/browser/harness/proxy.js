// A network that breaks on demand: plain TCP between browser and hub.

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** Forwards a free port to `port`; ends with the test. */
export async function startProxy(test, port) {
    const pairs = new Set();
    const waiting = new Set();
    let isCut = false;

    const listener = createServer((client) => {
        client.on("error", () => {});
        if (!isCut) return join(client);
        waiting.add(client);
        client.once("close", () => waiting.delete(client));
    });

    function join(client) {
        const hub = connect(port, "127.0.0.1");
        const pair = { client, hub };
        pairs.add(pair);
        client.pipe(hub);
        hub.pipe(client);
        for (const socket of [client, hub]) {
            socket.on("error", () => {});
            socket.once("close", () => {
                pairs.delete(pair);
                client.destroy();
                hub.destroy();
            });
        }
    }

    const proxy = {
        /** Resets every connection. New ones are accepted, and get no byte until `mend`. */
        cut() {
            isCut = true;
            for (const { client, hub } of pairs) {
                client.resetAndDestroy();
                hub.resetAndDestroy();
            }
        },
        mend() {
            isCut = false;
            for (const client of waiting) join(client);
            waiting.clear();
        },
        /** Forwards only so many more bytes of the hub, then cuts. */
        cutAfter(bytes) {
            let left = bytes;
            for (const { client, hub } of pairs) {
                hub.unpipe(client);
                hub.on("data", (chunk) => {
                    if (client.destroyed) return;
                    client.write(chunk.subarray(0, left));
                    left -= chunk.length;
                    if (left <= 0) client.end(() => proxy.cut());
                });
                hub.resume();
            }
        },
    };

    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    test.after(() => {
        listener.close();
        proxy.cut();
        for (const client of waiting) client.destroy();
    });
    return { ...proxy, url: `http://127.0.0.1:${listener.address().port}` };
}
