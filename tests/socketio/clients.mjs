// Socket.IO clients, as many as the test wants, each with a cookie jar of its own or none. One command a line in, one answer a
// line out, both JSON. `node clients.mjs FOLDER URL`.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { join } from "node:path";

const [folder, url] = process.argv.slice(2);
const { io } = createRequire(join(folder, "package.json"))("socket.io-client");

const common = { reconnectionDelay: 100, reconnectionDelayMax: 1_000, forceNew: true };
/** How a client can be set up (CLIENT.md). */
const KINDS = {
  /** Long-polling first and a WebSocket after: the default of Socket.IO. */
  upgraded: async () => ({ withCredentials: true, protocols: ["chat.v2", "chat.v1"] }),
  polling: async () => ({ withCredentials: true, transports: ["polling"] }),
  /** One connection needs no cookie to stay where it is. */
  websocket: async () => ({ transports: ["websocket"], protocols: ["chat.v2"] }),
  /** Keeps its cookie over reconnects, which Node's own jar of a client does not. */
  keeping: async () => {
    const answer = await fetch(url);
    const cookie = answer.headers.getSetCookie().map((set) => set.split(";")[0]).join("; ");
    return { extraHeaders: { cookie } };
  },
};
const clients = [];

async function come({ kind, count }) {
  for (let i = 0; i < count; i += 1) {
    const socket = io(url, { ...common, ...(await KINDS[kind]()) });
    const client = { kind, socket, connects: 0, echoed: [], errors: [] };
    socket.on("connect", () => (client.connects += 1));
    socket.on("connect_error", (error) => client.errors.push(`${error.message} ${error.context?.status ?? ""}`));
    socket.on("echoed", (text) => client.echoed.push(text));
    clients.push(client);
  }
  return who({ kinds: [kind] });
}

const pause = () => new Promise((done) => setTimeout(done, 20));

/** The pod and session of every client, from its server, once all are connected, and upgraded if that is expected. */
async function who({ kinds }) {
  return Promise.all(clients.filter(({ kind }) => kinds.includes(kind)).map(async (client) => {
    const polls = client.kind === "polling";
    for (;;) {
      while (!client.socket.connected || (!polls && client.socket.io.engine.transport.name !== "websocket")) await pause();
      try {
        const said = await client.socket.timeout(2_000).emitWithAck("who");
        if (polls || said.transport === "websocket") return { kind: client.kind, connects: client.connects, errors: client.errors, ...said };
      } catch {
        // The client was disconnected during the request.
      }
    }
  }));
}

/** All clients send this many messages at once, and record the echoes. */
async function talk({ messages, length }) {
  await Promise.all(clients.map(async (client) => {
    client.pods = new Set();
    client.echoed = [];
    client.wanted = Array.from({ length: messages }, (_, i) => `${i} ${"ä".repeat(length)}`);
    await Promise.all(client.wanted.map(async (text) => {
      const answer = await client.socket.emitWithAck("echo", text);
      if (answer.text === text) client.pods.add(answer.pod);
    }));
    while (client.echoed.length < messages) await pause();
  }));
  return clients.map(({ kind, pods, echoed, wanted }) => ({
    kind,
    pods: [...pods],
    inOrder: JSON.stringify(echoed) === JSON.stringify(wanted),
  }));
}

async function leave() {
  for (const { socket } of clients.splice(0)) socket.disconnect();
  return [];
}

const commands = { join: come, who, talk, leave };
for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...rest } = JSON.parse(line);
  console.log(JSON.stringify(await commands[command](rest)));
}
process.exit(0);
