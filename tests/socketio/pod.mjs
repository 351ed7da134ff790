// A pod: a Socket.IO server that reports its name. `node pod.mjs FOLDER HOST PORT NAME`; FOLDER has the installed Socket.IO.

import { createRequire } from "node:module";
import { createServer } from "node:http";
import { join } from "node:path";

const [folder, host, port, pod] = process.argv.slice(2);
const { Server } = createRequire(join(folder, "package.json"))("socket.io");

const http = createServer((request, response) => response.end(pod));
const io = new Server(http, { perMessageDeflate: { threshold: 0 }, pingInterval: 2_000, pingTimeout: 5_000 });
io.on("connection", (socket) => {
  const session = socket.handshake.headers["x-session-id"];
  // The current transport: a connection that began with polling may have been upgraded meanwhile.
  socket.on("who", (done) => {
    const { name, socket: wire } = socket.conn.transport;
    done({ pod, session, transport: name, extensions: wire?.extensions ?? "", protocol: wire?.protocol ?? "" });
  });
  socket.on("echo", (text, done) => {
    socket.emit("echoed", text);
    done({ pod, text });
  });
});
// On SIGTERM, a server of this kind disconnects all clients at once, and they reconnect elsewhere.
process.on("SIGTERM", () => io.close(() => process.exit(0)));
http.listen(Number(port), host, () => console.log("ready"));
