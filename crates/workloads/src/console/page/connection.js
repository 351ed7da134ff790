// The socket, and what to do when it closes: try again with exponential backoff and full jitter; when the server does not
// want a socket, find out why, and let a waiting room take over by loading the page again.

const FIRST_MS = 250;
const LONGEST_MS = 10_000;
const STABLE_MS = 3_000;
const REASONS = { 1001: "The console is stopping.", 1012: "The server is restarting." };

/**
 * `on.frame(buffer)`, `on.state(object)`, `on.open()`,
 * `on.trying(text)`: connecting or waiting to, `on.ended(title, text)`: for good, the visitor decides.
 * `dispatched`: behind a dispatcher, whose own page says why a session has ended, and how to start again.
 */
export function connect(on, dispatched) {
  let socket;
  let failures = 0;
  let timer;
  let over = false;

  function open() {
    clearTimeout(timer);
    if (over) return;
    const url = new URL("play", document.baseURI);
    url.protocol = url.protocol.replace("http", "ws");
    socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    let opened;
    socket.onopen = () => {
      opened = performance.now();
      on.open();
    };
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string") return on.frame(data);
      const message = JSON.parse(data);
      if (message.type === "state") on.state(message);
    };
    socket.onclose = ({ code, reason }) => {
      if (over) return;
      const told = (code >= 4001 && code <= 4010) || (code === 1000 && reason);
      if (told && dispatched) return reload();
      if (told) return end("This session has ended", reason || `The server closed the connection (code ${code}).`);
      if (opened && performance.now() - opened > STABLE_MS) failures = 0;
      failures += 1;
      if (!opened && failures >= 2) ask();
      else again(`${(opened && REASONS[code]) || "Connection lost."} Reconnecting …`);
    };
  }

  /** A page cannot see how the server answered the upgrade; a plain request to the same path can. */
  async function ask() {
    let answer;
    try {
      answer = await fetch(new URL("play", document.baseURI), { cache: "no-store", redirect: "manual" });
    } catch {
      return again("The server does not answer. Trying again …");
    }
    if (over) return;
    if (answer.status === 409) again("Somebody else is playing on this console. Waiting for them to leave …");
    else if (answer.status === 426) again("Reconnecting …");
    else reload();
  }

  /** From here on the answer of the server is the page. */
  function reload() {
    stop();
    location.reload();
  }

  function stop() {
    over = true;
    clearTimeout(timer);
    socket.close(1000);
  }

  function again(text) {
    on.trying(text);
    const longest = Math.min(LONGEST_MS, FIRST_MS * 2 ** failures);
    timer = setTimeout(open, Math.random() * longest);
  }

  function end(title, text) {
    stop();
    on.ended(title, text);
  }

  on.trying("Connecting …");
  open();
  addEventListener("online", () => socket.readyState === WebSocket.CLOSED && open());
  return {
    send: (command) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(command)),
    retry: () => socket.readyState === WebSocket.CLOSED && open(),
    reload,
  };
}
