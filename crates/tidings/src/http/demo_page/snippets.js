// The page's watch and publish as programs to copy.

/** A string literal of JavaScript and Python. Single quotes keep JSON readable. */
const literal = (text) => (/^[\x20-\x7e]*$/.test(text) && /"/.test(text) && !/['\\]/.test(text) ? `'${text}'` : JSON.stringify(text));
const quoted = (text) => `'${text.replace(/'/g, "'\\''")}'`;
const lines = (...list) => list.flat().filter((line) => line !== null).join("\n");

export const LANGUAGES = {
    javascript: { watch: watchInJavaScript, publish: publishInJavaScript },
    python: { watch: watchInPython, publish: publishInPython },
    curl: { watch: watchWithCurl, publish: publishWithCurl },
};

function watchInJavaScript({ url, channel, event, ticketUrl, hasToken }) {
    const ticket = [
        "// An EventSource sends no header, so it takes a ticket, which is valid once.",
        `const response = await fetch(${literal(ticketUrl)}, {`,
        '    method: "POST",',
        '    headers: { Authorization: `Bearer ${prompt("Token")}`, "Content-Type": "application/json" },',
        `    body: ${literal(JSON.stringify({ channels: [channel] }))},`,
        "});",
        "const { ticket } = await response.json();",
        `const events = new EventSource(${literal(`${url}?ticket=`)} + ticket);`,
        "",
    ];
    return lines(
        hasToken ? ticket : [`const url = ${literal(url)};`, "const events = new EventSource(url);", ""],
        "// EventSource has its own `error` event; a publisher may use that name, too.",
        "const show = (event) => {",
        "    if (event instanceof MessageEvent) console.log(event.type, event.data);",
        "};",
        'events.addEventListener("message", show);',
        event && event !== "message" ? `events.addEventListener(${literal(event)}, show);` : null,
        "// Some events were lost: load your state again.",
        'events.addEventListener("tidings.gap", show);',
    );
}

function publishInJavaScript({ url, data, hasToken }) {
    return lines(
        `const url = ${literal(url)};`,
        `const data = ${literal(data)};`,
        "",
        "const response = await fetch(url, {",
        '    method: "POST",',
        hasToken ? '    headers: { Authorization: `Bearer ${prompt("Token")}` },' : null,
        "    body: data,",
        "});",
        "console.log(await response.json());",
    );
}

const PYTHON_BEARER = 'headers={"Authorization": f"Bearer {os.environ[\'TOKEN\']}"}';

function watchInPython({ url, hasToken }) {
    return lines(
        hasToken ? "import os" : null,
        "from urllib.request import Request, urlopen",
        "",
        `url = ${literal(url)}`,
        `request = Request(url${hasToken ? `, ${PYTHON_BEARER}` : ""})`,
        'name, data = "message", []',
        "with urlopen(request) as stream:",
        "    for line in stream:",
        '        text = line.decode().rstrip("\\n")',
        '        field, _, value = text.partition(": ")',
        '        if field == "event":',
        "            name = value",
        '        elif field == "data":',
        "            data.append(value)",
        "        elif not field and data:  # a blank line ends an event",
        '            print(name, "\\n".join(data), flush=True)',
        '            name, data = "message", []',
    );
}

function publishInPython({ url, data, hasToken }) {
    return lines(
        hasToken ? "import os" : null,
        "from urllib.request import Request, urlopen",
        "",
        `url = ${literal(url)}`,
        `data = ${literal(data)}`,
        `request = Request(url, data.encode()${hasToken ? `, ${PYTHON_BEARER}` : ""})`,
        "with urlopen(request) as response:",
        "    print(response.read().decode())",
    );
}

const bearer = ({ hasToken }) => (hasToken ? ' -H "Authorization: Bearer $TOKEN"' : "");

function watchWithCurl(what) {
    return `curl -N${bearer(what)} ${quoted(what.url)}`;
}

function publishWithCurl(what) {
    return `curl${bearer(what)} --data-raw ${quoted(what.data)} ${quoted(what.url)}`;
}
