// A simulated browser: the test controls its clock, random numbers, sockets, network and page.

import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

// Node recognises a module by its file name; browsers use the Content-Type of the response.
const folder = mkdtempSync(join(tmpdir(), "client-"));
copyFileSync(new URL("../../crates/dispatcher/src/client/client.js", import.meta.url), join(folder, "client.mjs"));
const { connect } = await import(join(folder, "client.mjs"));
rmSync(folder, { recursive: true });

/** Runs everything that needs no time. */
async function settle() {
  for (let i = 0; i < 50; i += 1) await Promise.resolve();
}

function answer(status, body, headers) {
  // The response of fetch to a redirect that it does not follow.
  if (status === "redirect") return { type: "opaqueredirect", status: 0, ok: false, headers: new Headers(), body: null };
  const text = typeof body === "string" ? body : JSON.stringify(body ?? {});
  return new Response(status === 304 ? null : text, { status, headers });
}

/** Events of a page or a window. */
class Happens {
  handlers = new Map();
  addEventListener(name, handler) {
    this.handlers.set(name, [...(this.handlers.get(name) ?? []), handler]);
  }
  removeEventListener(name, handler) {
    this.handlers.set(name, (this.handlers.get(name) ?? []).filter((other) => other !== handler));
  }
  happen(name, event = {}) {
    for (const handler of this.handlers.get(name) ?? []) handler(event);
  }
}

/** A world, and a page in it that has called `connect`. */
export async function world({ streams = false, answers = () => undefined, at = "http://pod.example/chat/", online = true, atOnce = () => {}, ...options } = {}) {
  let now = 1_000_000;
  let timers = [];
  let numbers = 0;
  const it = {
    sockets: [],
    sources: [],
    asked: [],
    states: [],
    messages: [],
    /** The next random number. */
    dice: 0.5,
    answers,
    page: Object.assign(new Happens(), { baseURI: at, visibilityState: "visible" }),
    window: new Happens(),
    get last() {
      return it.sockets.at(-1);
    },
    get state() {
      return it.states.at(-1);
    },
    get names() {
      return it.states.map((state) => state.name);
    },
    /** Sockets that are connecting or open. */
    get live() {
      return it.sockets.filter((socket) => socket.readyState < 2).length;
    },
    get timers() {
      return timers.length;
    },
    settle,
    /** Lets this many ms pass, and runs the timers that fall due, in their order. */
    async pass(ms) {
      await settle();
      const end = now + ms;
      for (;;) {
        const next = timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
        if (!next) break;
        now = next.at;
        timers = timers.filter((timer) => timer !== next);
        next.what();
        await settle();
      }
      now = end;
    },
    /** Time passes but no timer of the page runs: a laptop that sleeps. */
    sleep(ms) {
      now += ms;
    },
    /** In how many ms the next socket is opened, from the state. */
    get inMs() {
      return it.state.inMs;
    },
  };

  class WebSocket {
    readyState = 0;
    sent = [];
    constructor(url, protocols) {
      Object.assign(this, { url, protocols, at: now });
      it.sockets.push(this);
    }
    accept() {
      this.readyState = 1;
      this.onopen?.({});
    }
    receive(data) {
      this.onmessage?.({ data });
    }
    /** The other side closes the socket, or the network breaks. */
    end(code = 1006, reason = "") {
      this.readyState = 3;
      this.onclose?.({ code, reason });
    }
    send(data) {
      this.sent.push(data);
    }
    close(code) {
      this.closedWith = code ?? "no code";
      this.readyState = 2;
    }
  }
  class EventSource extends Happens {
    constructor(url) {
      super();
      Object.assign(this, { url: String(url), open: true });
      it.sources.push(this);
    }
    say(facts) {
      this.onmessage?.({ data: JSON.stringify(facts) });
    }
    close() {
      this.open = false;
    }
  }
  const globals = {
    WebSocket,
    EventSource: streams ? EventSource : undefined,
    document: it.page,
    navigator: { onLine: online },
    location: { href: at },
    addEventListener: (...args) => it.window.addEventListener(...args),
    removeEventListener: (...args) => it.window.removeEventListener(...args),
    setTimeout(what, ms) {
      numbers += 1;
      timers.push({ number: numbers, what, at: now + ms });
      return numbers;
    },
    clearTimeout(number) {
      timers = timers.filter((timer) => timer.number !== number);
    },
    async fetch(url, { method = "GET", signal } = {}) {
      it.asked.push(`${method} ${url}`);
      const said = it.answers(String(url), method);
      if (said === "silence") return new Promise((_, fail) => signal.addEventListener("abort", () => fail(signal.reason)));
      if (!said) throw new TypeError("failed to fetch");
      if (said === "half an answer") {
        const start = (body) => signal.addEventListener("abort", () => body.error(signal.reason));
        return new Response(new ReadableStream({ start }), { headers: { "content-type": "application/json" } });
      }
      return answer(...said);
    },
  };
  for (const [name, value] of Object.entries(globals)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  Date.now = () => now;
  Math.random = () => it.dice;

  it.connection = connect({
    url: "ws",
    state: (state) => it.states.push(state),
    message: (data) => it.messages.push(data),
    ...options,
  });
  atOnce(it.connection);
  await settle();
  return it;
}

/** Opens the socket that is being connected. */
export async function opened(options) {
  const it = await world(options);
  it.last.accept();
  return it;
}
