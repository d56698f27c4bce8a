// The page of the channels guide's quick start (section 3), in Chromium, with its code as it is written there.

import assert from "node:assert/strict";
import { test } from "node:test";
import { launch, serveHtml } from "./harness/browsers.js";
import { startServer, until } from "./harness/server.js";

// The guide closes the stream "при unmount компонента", when the component goes: here, when the page does.
const PAGE = `<!doctype html><meta charset="utf-8"><title>Quick start</title><link rel="icon" href="data:,"><script>
// 1. Создайте EventSource соединение
const eventSource = new EventSource(
    "http://localhost:8000/api/v1/events/project.123"
);

// 2. Обработайте входящие события
eventSource.onmessage = (event) => {
    const data = JSON.parse(event.data);
    console.log("Received:", data);

    if (data.type === "notification") {
        alert(data.object.message);
    }
};

// 3. Очистите ресурсы
eventSource.onopen = () => console.log("Connected");
eventSource.onerror = () => console.log("Error occurred");

addEventListener("pagehide", () => {
    // При unmount компонента
    eventSource.close();
});
</script>`;

test("the quick start's page of another origin hears a notification after it has connected", async (t) => {
    const server = await startServer(t);
    const origin = await serveHtml(t, PAGE);
    // The code contains a fixed address; the browser maps that port to the test's.
    const browser = await launch("chromium", { hosts: [`MAP localhost:8000 127.0.0.1:${server.port}`] });
    t.after(() => browser.close());
    const tab = await browser.newPage();
    const logged = [];
    const alerts = [];
    tab.on("console", (message) => logged.push(message.text()));
    tab.on("dialog", (dialog) => {
        alerts.push(dialog.message());
        dialog.accept();
    });
    await tab.goto(origin);
    await until("the page connects", () => logged.includes("Connected"));

    const message = "Проект готов";
    await server.publish("project.123", JSON.stringify({ type: "notification", object: { message } }));
    await until("the page alerts", () => alerts.length > 0);
    assert.deepEqual(alerts, [message]);
    assert.equal(logged[0], "Connected");
    assert.match(logged[1], /^Received:/);
    assert.equal(logged.length, 2);

    await tab.goto("about:blank");
    await until("the stream is closed", async () => (await server.connections()).length === 0);
});
