// A WebSocket that reconnects, with full jitter; it waits while the dispatcher has no slot, and stops after a final close.
// Served at /.slotkeeper/client.js and documented in CLIENT.md. It neither stores nor resends messages: only the application
// knows what a lost connection means to it (`url` may be a function, for resuming).

const OPENING_MS = 30_000; // how long an attempt to connect may take
const ANSWER_MS = 10_000; // how long a request to the dispatcher may take
const POLL_MS = 5_000; // the poll interval while waiting without an event stream
const FULL_MS = 15_000; // the poll interval while the queue is full
const STREAM_MS = 90_000; // how long an event stream may be silent: the dispatcher ends each one after a minute
const LATEST_MS = 3_600_000; // the longest Retry-After that is obeyed

const SESSION_OVER = 4001; // the dispatcher's own close code, see visit/seat.rs
const DRAINS = [1001, 1012];
/** After one of these reasons, reconnecting simply begins a new session. */
const BEGUN_AGAIN = ["disconnected", "left_queue", "pod_lost"];
const isOver = (code, reason) =>
  code === 1000 || code === 1008 ||
  (code >= 4001 && code <= 4010 && !(code === SESSION_OVER && BEGUN_AGAIN.includes(reason)));

/** The response's Retry-After in ms (RFC 9110 §10.2.3: seconds or a date). */
function retryAfter(answer) {
  const said = answer.headers.get("retry-after");
  if (!said || answer.ok) return 0;
  const ms = /^\s*\d+\s*$/.test(said) ? said * 1000 : Date.parse(said) - Date.now();
  return Math.min(LATEST_MS, Math.max(0, ms || 0));
}

export function connect({
  url,
  protocols = [],
  own = null,
  binaryType = "arraybuffer",
  state: changed = () => {},
  message = () => {},
  isFinal = isOver,
  firstMs = 1_000,
  longestMs = 30_000,
  stableMs = 5_000,
  silentMs = 0,
}) {
  let state;
  let told; // the last reported state as JSON
  let socket; // the current one: connecting or open
  let source; // the dispatcher's event stream, while waiting
  let opened = 0; // when the socket opened
  let wasOpen = false;
  let failures = 0; // consecutive attempts that failed or did not last
  let notBefore = 0; // no attempt before this time, as a server's Retry-After demands
  let turn = 0; // callbacks of earlier turns are ignored
  let timer;
  let due; // when the next attempt starts, if the timer is for one
  let joining = false;
  let closed = false;

  const base = () => globalThis.document?.baseURI ?? globalThis.location?.href;
  const target = (scheme) => {
    const to = new URL(typeof url === "function" ? url() : url, base());
    to.protocol = to.protocol.replace(/^(http|ws)/, scheme);
    to.hash = ""; // WebSocket refuses a fragment
    return to;
  };
  const ownUrl = (name) => new URL(name, new URL(own, base()));
  const jitter = (ms) => Math.random() * ms;

  function tell(next) {
    const text = JSON.stringify(next);
    if (text === told) return; // polls are frequent, changes rare
    told = text;
    state = next;
    try {
      changed(next);
    } catch (error) {
      console.error(error); // an error of the page must not end the connection
    }
  }

  /** Ends the current turn and begins another. Returns a function that reports whether that one is still current. */
  function begin() {
    clearTimeout(timer);
    due = undefined;
    source?.close();
    source = undefined;
    drop();
    const mine = ++turn;
    return () => mine === turn;
  }

  /** Closes without a code: 1000 would mean that the visitor is done, and pages must not use 1001. */
  function drop(code) {
    if (!socket) return;
    const old = socket;
    socket = old.onopen = old.onmessage = old.onclose = null;
    if (code) old.close(code);
    else old.close();
  }

  function later(what, ms) {
    clearTimeout(timer);
    timer = setTimeout(what, ms);
  }

  // ---- attempts

  /** Without a network an attempt is pointless, except to this machine. */
  function isOffline(to) {
    return globalThis.navigator?.onLine === false && !/^(localhost|127\.[\d.]+|\[::1\])$/.test(to.hostname);
  }

  function attempt(byHand = false) {
    const still = begin();
    let to;
    try {
      to = target("ws");
      if (!byHand && isOffline(to)) return tell({ name: "connecting", attempt: failures + 1, inMs: null, offline: true });
      socket = new WebSocket(to.href, protocols);
    } catch (error) {
      // The address is invalid, or the page may not use it: a retry would fail as well.
      return tell({ name: "gone", code: null, reason: error.message });
    }
    const mine = socket;
    mine.binaryType = binaryType;
    opened = 0;
    let heard;
    mine.onopen = () => {
      opened = heard = Date.now();
      const resumed = wasOpen;
      wasOpen = true;
      watch();
      tell({ name: "open", resumed });
    };
    mine.onmessage = ({ data }) => {
      heard = Date.now();
      message(data);
    };
    mine.onclose = ({ code, reason }) => {
      clearTimeout(timer);
      socket = null;
      ended(code, reason);
    };
    later(lost, OPENING_MS);
    tell({ name: "connecting", attempt: failures + 1, inMs: 0 });

    /** Detects a connection that died silently; only a server that sends regularly can be missed, hence `silentMs`. */
    function watch() {
      clearTimeout(timer);
      if (!silentMs) return;
      const left = heard + silentMs - Date.now();
      if (left <= 0) lost();
      else later(watch, left);
    }
    function lost() {
      if (!still()) return;
      drop();
      ended(1006, "");
    }
  }

  function ended(code, reason) {
    const lasted = opened && Date.now() - opened >= stableMs;
    if (lasted) failures = 0;
    if (opened && isFinal(code, reason)) return over(code, reason);
    // The close code only matters once the socket was open; before, the dispatcher is asked for the reason.
    if (!opened) return ask();
    const pause = backoff();
    if (DRAINS.includes(code)) tell({ name: "draining", code, reason, inMs: pause });
    else tell({ name: "connecting", attempt: failures + 1, inMs: pause });
  }

  /** Plans the next attempt and returns in how many ms it will be. */
  function backoff() {
    const longest = Math.min(longestMs, firstMs * 2 ** failures);
    failures += 1;
    const ms = Math.max(0, notBefore - Date.now()) + jitter(longest);
    plan(ms);
    return Math.round(ms);
  }

  function plan(ms) {
    begin();
    due = Date.now() + ms;
    later(attempt, ms);
  }

  function again(status) {
    const inMs = backoff();
    tell({ name: "connecting", attempt: failures + 1, inMs, ...(status && { status }) });
  }

  function over(code, reason) {
    begin();
    tell({ name: "gone", code, reason });
  }

  // ---- status requests: a page cannot see the response to an upgrade, but it can ask

  async function ask() {
    const still = begin();
    if (own) {
      const answer = await get(ownUrl("status"), { reads: true });
      if (!still()) return;
      if (answer?.facts && heed(answer.facts)) return;
      // A dispatcher that does not answer either knows nothing about the pod.
      if (!answer?.facts) return again(answer?.status);
    }
    // The dispatcher would let the session in, or there is no dispatcher: so the server itself refused.
    let to;
    try {
      to = target("http");
    } catch {
      return again(); // the next attempt reports the invalid address
    }
    const answer = await get(to);
    if (still()) again(answer?.status);
  }

  /** Returns status and facts, or nothing. Remembers the response's Retry-After. */
  async function get(from, { method = "GET", reads = false } = {}) {
    const stop = new AbortController();
    const limit = setTimeout(() => stop.abort(), ANSWER_MS);
    try {
      const answer = await fetch(from, {
        method,
        headers: { accept: "application/json" },
        cache: "no-store",
        redirect: "manual",
        credentials: "include", // without the cookie it would be another session
        signal: stop.signal,
      });
      const wait = retryAfter(answer);
      if (wait) notBefore = Date.now() + wait;
      // A page can see neither the target of a redirect nor its status.
      const status = answer.type === "opaqueredirect" ? 302 : answer.status;
      if (reads && answer.ok) return { status, facts: await answer.json().catch(() => null) };
      answer.body?.cancel().catch(() => {});
      return { status };
    } catch {
      return undefined;
    } finally {
      clearTimeout(limit);
    }
  }

  /** Acts on the dispatcher's facts (waiting.rs). Returns false if they do not decide what happens next. */
  function heed(facts) {
    const waiting = { name: "waiting", position: facts.position ?? null, estimateSeconds: facts.estimate_seconds ?? null };
    switch (facts.state) {
      case "starting":
      case "queued":
        if (!source) listen();
        tell({ ...waiting, reason: facts.reason ?? null });
        return true;
      case "failing": // nothing can be started; the place in line is kept
        if (!source) listen();
        tell({ ...waiting, reason: "failing" });
        return true;
      case "full":
        begin();
        tell({ ...waiting, reason: "full" });
        later(ask, FULL_MS + jitter(FULL_MS));
        return true;
      case "ended":
        if (BEGUN_AGAIN.includes(facts.reason)) return false;
        over(SESSION_OVER, facts.reason ?? "");
        return true;
      case "ready":
        // A waiting session now connects, after a random delay: one pod can have thousands of slots.
        if (state.name !== "waiting") return false;
        soon();
        return true;
      default: // "arriving": not in the queue yet; the next attempt joins it
        return false;
    }
  }

  /** Follows the queue. The open stream keeps the place, also in a tab whose timers are throttled. */
  function listen() {
    const pollMs = () => POLL_MS / 2 + jitter(POLL_MS / 2);
    if (!globalThis.EventSource) return later(ask, pollMs());
    const mine = new EventSource(ownUrl("events"));
    source = mine;
    const heard = () => later(ask, STREAM_MS);
    heard();
    mine.onmessage = ({ data }) => {
      if (mine !== source) return;
      heard();
      heed(JSON.parse(data));
    };
    mine.addEventListener("again", () => {
      if (mine !== source) return;
      mine.close();
      listen();
    });
    mine.onerror = () => {
      if (mine !== source) return;
      mine.close(); // it would reconnect by itself, without jitter
      source = undefined;
      later(ask, pollMs());
    };
  }

  // ---- the page's lifecycle

  /** The network is back, or the page is visible again: cuts a long wait short, unless a server asked for it. */
  function sooner() {
    if (socket || closed || state.name === "gone") return;
    const idle = state.offline || (due && due > Date.now() + firstMs) || (due && due < Date.now());
    if (idle) soon();
  }
  function soon() {
    plan(Math.max(0, notBefore - Date.now()) + jitter(firstMs));
    tell({ name: "connecting", attempt: failures + 1, inMs: Math.round(due - Date.now()) });
  }
  function seen() {
    if (globalThis.document?.visibilityState === "visible") sooner();
  }
  /** A page with an open socket cannot enter the back/forward cache. */
  function hidden() {
    if (state.name === "gone") return;
    begin();
  }
  function shown({ persisted }) {
    if (!persisted || state.name === "gone") return;
    if (notBefore > Date.now()) soon();
    else attempt();
  }

  const listeners = [["online", sooner], ["pagehide", hidden], ["pageshow", shown]];
  for (const [name, what] of listeners) globalThis.addEventListener?.(name, what);
  globalThis.document?.addEventListener("visibilitychange", seen);

  // The page must receive the returned object before the first state.
  state = { name: "connecting", attempt: 1, inMs: 0 };
  const still = begin();
  queueMicrotask(() => still() && attempt());

  return {
    get state() {
      return state;
    },
    send(data) {
      if (socket?.readyState !== 1) return false;
      socket.send(data);
      return true;
    },
    close() {
      if (closed) return;
      closed = true;
      for (const [name, what] of listeners) globalThis.removeEventListener?.(name, what);
      globalThis.document?.removeEventListener("visibilitychange", seen);
      drop(1000);
      if (state.name === "gone") return void begin();
      over(1000, "");
    },
    /** Connects now. After the end of a session it begins another one, like the waiting room's button. */
    async retry() {
      if (socket || joining || closed) return;
      notBefore = 0;
      if (own && state.name === "gone") {
        joining = true;
        await get(ownUrl("join"), { method: "POST" });
        joining = false;
        if (closed) return;
      }
      attempt(true);
    },
  };
}
