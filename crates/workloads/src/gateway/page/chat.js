// The page of the chat: the messages, the state of the connection, and the messages that wait to be delivered.

import { connect } from "./client.js";
import { outbox } from "./outbox.js";

const $ = (id) => document.getElementById(id);
const { dispatcher, scope } = document.documentElement.dataset;
const own = dispatcher || null;
const SHOWN = 500; // messages on the page; older ones are removed
const SEEN = 2_000; // ids remembered

// ---- the name

let name = localName();
function localName() {
  let kept;
  try {
    kept = localStorage.getItem("slotkeeper-chat-name");
  } catch {
    // Without storage every visit is a new guest.
  }
  return kept || `guest ${100 + Math.floor(Math.random() * 900)}`;
}
$("name").value = name;
$("name").addEventListener("focus", () => $("name").select());
$("name").addEventListener("change", () => {
  name = $("name").value.trim() || name;
  $("name").value = name;
  try {
    localStorage.setItem("slotkeeper-chat-name", name);
  } catch {
    // As above.
  }
  connection.send(JSON.stringify({ type: "name", name }));
});

// ---- messages

let last; // the id of the newest message received: a reconnect asks for later ones
let lastFrom; // the sender of the newest message on the page
const seen = new Set();
const mine = new Set(); // the ids of this page's own messages
const time = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
const scroll = $("scroll");
const isAtEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;

/** A colour for a name: always the same, readable on paper. */
function colour(text) {
  let hue = 0;
  for (const char of text) hue = (hue * 31 + char.codePointAt(0)) % 360;
  return `hsl(${hue} var(--hue) var(--light))`;
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function append(item) {
  const follow = isAtEnd();
  $("empty").hidden = true;
  $("log").append(item);
  while ($("log").childElementCount > SHOWN) $("log").firstElementChild.remove();
  if (follow) scroll.scrollTop = scroll.scrollHeight;
  else $("newer").hidden = false;
}

function event(text) {
  lastFrom = undefined;
  append(element("li", "event", text));
}

function remember(...ids) {
  for (const id of ids) seen.add(id);
  while (seen.size > SEEN) seen.delete(seen.values().next().value);
}

function show({ id, from, text, at_ms: at, pod, client_id: given }) {
  box.sent(given);
  last = id;
  // The gateway's ids contain a dash, the page's do not: they cannot be confused.
  if (seen.has(id) || seen.has(given)) return;
  remember(id, given);
  const isMine = mine.has(given);
  const who = `${isMine} ${from} ${pod}`;
  const item = element("li", `new${isMine ? " mine" : ""}${who === lastFrom ? "" : " first"}`);
  lastFrom = who;
  const head = element("p", "from");
  const author = element("strong", "", from);
  author.style.color = colour(from);
  head.append(author, element("span", "", ` ${isMine ? "" : "· "}${pod} · ${time.format(at)}`));
  item.append(head, element("div", "bubble", text));
  append(item);
}

scroll.addEventListener("scroll", () => isAtEnd() && ($("newer").hidden = true));
$("newer").addEventListener("click", () => {
  scroll.scrollTop = scroll.scrollHeight;
  $("text").focus();
});

// ---- messages that wait to be delivered

const box = outbox({
  send: (text) => connection.send(text),
  changed(messages) {
    for (const { id } of messages) mine.add(id);
    const follow = isAtEnd();
    $("waiting").hidden = messages.length === 0;
    $("outbox").replaceChildren(
      ...messages.map(({ text, final }) => {
        const item = element("li");
        item.append(element("div", "bubble", text));
        if (final) item.append(element("span", "why", final));
        return item;
      }),
    );
    if (follow) scroll.scrollTop = scroll.scrollHeight;
  },
});

$("form").addEventListener("submit", (submit) => {
  submit.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  box.forgetFinal();
  if (!box.say(text)) return notice("Too much waits to be delivered already.");
  $("text").value = "";
  scroll.scrollTop = scroll.scrollHeight;
});
$("text").addEventListener("keydown", (key) => {
  if (key.key !== "Enter" || key.shiftKey || key.isComposing) return;
  key.preventDefault();
  $("form").requestSubmit();
});

// ---- the connection

let stopping = false;
const said = {
  welcome({ pod, here, reach, resumed, complete }) {
    if ($("pod").textContent !== pod && resumed) event(`You are on ${pod} now.`);
    $("pod").textContent = pod;
    document.title = `Chat on ${pod}`;
    presence(here);
    stopping = false;
    if (!complete) event("Some messages are missing here: you were away for too long.");
    reached(reach);
    box.sendAll();
  },
  message: show,
  sent: ({ client_id }) => box.sent(client_id),
  refused: (refusal) => box.refused(refusal),
  presence: ({ here }) => presence(here),
  missed: ({ messages }) => event(`${messages} messages were skipped: this connection is slow.`),
  "server-shutdown"({ in_seconds }) {
    stopping = true;
    notice(`This pod is shutting down: within ${in_seconds} seconds you are moved to another one.`);
  },
  redis({ connected }) {
    reached(connected ? "pods" : "away");
    if (connected) box.sendAll();
  },
};

function presence(here) {
  $("here").hidden = false;
  $("here").textContent = `${here} here · `;
}

function reached(reach) {
  $("reach").textContent = { pods: "reaches all pods", pod: "this pod only", away: "reaches nobody now" }[reach];
  if (reach === "away") notice("The pods cannot reach each other at the moment. What you write is kept here and delivered later.");
  else if (!stopping) notice();
}

function notice(text = "", button = false) {
  $("notice-text").textContent = text;
  $("notice").hidden = !text;
  $("notice-button").hidden = !button;
}

const seconds = (ms) => (ms >= 1_500 ? ` in ${Math.round(ms / 1_000)} s` : " now");
const states = {
  connecting: ({ inMs, offline }) => ["Connecting", offline ? "This device is offline." : inMs ? `Not connected. Next attempt${seconds(inMs)}.` : ""],
  waiting: ({ position, estimateSeconds, reason }) => [
    "Waiting",
    (position ? `All pods are full: you are number ${position} in line.` : reason === "full" ? "All pods are full, and so is the line." : "A pod is being made ready for you.") +
      (estimateSeconds ? ` About ${estimateSeconds} s.` : ""),
  ],
  open: () => ["Connected", ""],
  draining: ({ inMs }) => ["Moving", `Your pod is shutting down. You are moved to another one${seconds(inMs)}.`],
  gone: ({ code, reason }) => ["Ended", reason || `The server has closed the connection (${code}).`],
};

const connection = connect({
  url() {
    const url = new URL("chat", document.baseURI);
    url.searchParams.set("name", name);
    if (last) url.searchParams.set("after", last);
    return url;
  },
  own,
  state(state) {
    const [word, text] = states[state.name](state);
    $("link").dataset.state = state.name;
    $("link").textContent = word;
    $("facts").hidden = state.name !== "open";
    if (state.name !== "open" && (text || state.name === "gone")) notice(text, state.name === "gone");
  },
  message(data) {
    const message = JSON.parse(data);
    said[message.type]?.(message);
  },
});

$("notice-button").addEventListener("click", () => connection.retry());
$("reach").textContent = scope === "pods" ? "" : "this pod only";
if (own) {
  $("leave").hidden = false;
  $("leave").addEventListener("click", async () => {
    const left = await fetch(new URL("leave", new URL(own, document.baseURI)), { method: "POST", redirect: "manual" }).catch(() => {});
    if (left) location.reload();
  });
}
box.show();
