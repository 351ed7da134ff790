// A client of Node.js: requests, a WebSocket over HTTP/2 (RFC 8441), and a response that is read slowly. Prints what it saw as JSON.
import { connect, constants } from "node:http2";
import { once } from "node:events";

const session = connect(process.argv[2], { rejectUnauthorized: false });
await once(session, "remoteSettings");
const seen = { protocol: session.alpnProtocol ?? "h2c", announced: session.remoteSettings.enableConnectProtocol };

async function fetch(path, method = "GET", body) {
    const stream = session.request({ ":method": method, ":path": path });
    stream.end(body);
    const [head] = await once(stream, "response");
    let text = "";
    for await (const part of stream.setEncoding("utf8")) text += part;
    return { status: head[":status"], text };
}

seen.page = await fetch("/page");
seen.upload = await fetch("/upload", "POST", "x".repeat(300_000));

// A client's frame: its payload is masked with zeros.
function frame(opcode, payload) {
    return Buffer.concat([Buffer.from([0x80 | opcode, 0x80 | payload.length, 0, 0, 0, 0]), payload]);
}

const socket = session.request({
    ":method": "CONNECT",
    ":protocol": "websocket",
    ":path": "/socket",
    "sec-websocket-version": "13",
    origin: process.argv[2],
});
const [head] = await once(socket, "response");
seen.websocket = { status: head[":status"], accept: "sec-websocket-accept" in head, upgrade: "upgrade" in head };
let received = Buffer.alloc(0);
socket.on("data", (part) => { received = Buffer.concat([received, part]); });
async function until(bytes) {
    while (received.length < bytes) await once(socket, "data");
    const taken = received.subarray(0, bytes);
    received = received.subarray(bytes);
    return taken;
}
socket.write(frame(1, Buffer.from("hello")));
const echo = await until(7);
seen.websocket.echo = echo.subarray(2).toString();
// The others continue meanwhile.
seen.many = (await Promise.all(Array.from({ length: 50 }, (_, n) => fetch(`/${n}`)))).filter((answer) => answer.status === 200).length;
socket.write(frame(8, Buffer.from([0x03, 0xe8])));
const close = await until(4);
seen.websocket.close = [close[0] & 0x0f, close.readUInt16BE(2)];
socket.end();
await once(socket, "close");
seen.websocket.reset = socket.rstCode === constants.NGHTTP2_NO_ERROR ? null : socket.rstCode;
session.close();
await once(session, "close");
console.log(JSON.stringify(seen));
