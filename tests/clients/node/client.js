// `node client.js <adapter> <url>`: has one library read a stream, until the process is killed.

const [adapter, url] = process.argv.slice(2);
const { default: read } = await import(`./adapters/${adapter}.js`);
await read(url);
// Some libraries wait for their next attempt without keeping the process alive; an application has other work.
setInterval(() => {}, 60_000);
