// A WebSocket that comes back: reconnects with full jitter, waits where the dispatcher has no slot yet, and knows what is
// final. Served at /.slotkeeper/client.js; CLIENT.md says how to use it. It neither keeps messages nor sends them again:
// what a lost connection means to an application only the application knows (`url` may be a function, for resuming).

const OPENING_MS = 30_000; // an attempt that takes longer is given up
const ANSWER_MS = 10_000; // so is a question
const POLL_MS = 5_000; // while waiting without an event stream
const FULL_MS = 15_000; // while even the line is full
const STREAM_MS = 90_000; // the dispatcher ends its event streams every minute: one that is silent for longer is dead
const LATEST_MS = 3_600_000; // more than this no Retry-After may ask for

const SESSION_OVER = 4001; // the dispatcher's own close code, see visit/seat.rs
const DRAINS = [1001, 1012];
/** A session that ended for one of these is simply begun again by whoever comes back. */
const BEGUN_AGAIN = ["disconnected", "left_queue", "pod_lost"];
const isOver = (code, reason) =>
  code === 1000 || code === 1008 ||
  (code >= 4001 && code <= 4010 && !(code === SESSION_OVER && BEGUN_AGAIN.includes(reason)));

/** How long an answer asks to be left alone, in ms: RFC 9110 §10.2.3, seconds or a date. */
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
  let told; // the same as text, once the page has heard it
  let socket; // the one that counts: connecting or open
  let source; // the dispatcher's event stream, while waiting
  let opened = 0; // when the socket opened
  let wasOpen = false;
  let failures = 0; // attempts in a row that led to nothing, or to nothing that lasted
  let notBefore = 0; // until then a server wants to be left alone
  let turn = 0; // whatever began in an earlier turn has nothing to say any more
  let timer;
  let due; // what the timer is for, while it is for an attempt: when
  let joining = false;
  let closed = false;

  const base = () => globalThis.document?.baseURI ?? globalThis.location?.href;
  const target = (scheme) => {
    const to = new URL(typeof url === "function" ? url() : url, base());
    to.protocol = to.protocol.replace(/^(http|ws)/, scheme);
    to.hash = ""; // WebSocket refuses one
    return to;
  };
  const ownUrl = (name) => new URL(name, new URL(own, base()));
  const jitter = (ms) => Math.random() * ms;

  function tell(next) {
    const text = JSON.stringify(next);
    if (text === told) return; // the line is asked often and moves seldom
    told = text;
    state = next;
    try {
      changed(next);
    } catch (error) {
      console.error(error); // a mistake of the page must not end the connection
    }
  }

  /** Ends whatever goes on, and returns whether this turn still is the current one. */
  function begin() {
    clearTimeout(timer);
    due = undefined;
    source?.close();
    source = undefined;
    drop();
    const mine = ++turn;
    return () => mine === turn;
  }

  /** Without a code: 1000 would say that the visitor is done, and 1001 is not for pages to use. */
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

  /** Without a network there is nothing to try; what is on this very machine needs none. */
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
      // An address that cannot be one, or a page that may not: trying again does not mend it.
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

    /** A network can go without a word. Only a server that speaks regularly can be missed, so the page says how often. */
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
    // Who never was let in asks why; who was goes by the code.
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

  // ---- questions: a page cannot see how the server answered an upgrade, but it can ask

  async function ask() {
    const still = begin();
    if (own) {
      const answer = await get(ownUrl("status"), { reads: true });
      if (!still()) return;
      if (answer?.facts && heed(answer.facts)) return;
      // A dispatcher that does not answer either has nothing to say about the pod.
      if (!answer?.facts) return again(answer?.status);
    }
    // The dispatcher would let us in, or there is none: so it was the server itself.
    let to;
    try {
      to = target("http");
    } catch {
      return again(); // the next attempt says what is wrong with the address
    }
    const answer = await get(to);
    if (still()) again(answer?.status);
  }

  /** Status and facts, or nothing. What is said about when to come again is remembered. */
  async function get(from, { method = "GET", reads = false } = {}) {
    const stop = new AbortController();
    const limit = setTimeout(() => stop.abort(), ANSWER_MS);
    try {
      const answer = await fetch(from, {
        method,
        headers: { accept: "application/json" },
        cache: "no-store",
        redirect: "manual",
        credentials: "include", // without the cookie it would be another visitor who asks
        signal: stop.signal,
      });
      const wait = retryAfter(answer);
      if (wait) notBefore = Date.now() + wait;
      // Where a redirect leads a page cannot see, nor which one it is.
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

  /** The dispatcher's facts (waiting.rs): true if they say what happens next. */
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
        // Whoever waited goes in now. (Not all at once: one pod can have thousands of slots.)
        if (state.name !== "waiting") return false;
        soon();
        return true;
      default: // "arriving": not even in line; the next attempt will be
        return false;
    }
  }

  /** Hears how the line moves. While the stream is open it holds the place, also in a tab whose timers hardly run. */
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
      mine.close(); // it would try again by itself, and not as politely
      source = undefined;
      later(ask, pollMs());
    };
  }

  // ---- the page's own life

  /** The network is back, or somebody looks: the rest of a long wait is not worth it, unless a server asked for it. */
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
  /** A page with an open socket cannot be kept for going back to it (bfcache). */
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

  // Not before the page has what is returned here.
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
    /** Now. After the end of a session it begins another one, as the waiting room's button does. */
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
