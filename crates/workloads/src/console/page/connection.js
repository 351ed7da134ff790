// The console's socket: translates the states of client.js (the dispatcher's client) for the console's page. If the server
// has another page to show, a waiting room or the reason why the session has ended, the browser loads that page.

import { connect as open } from "./client.js";

const DRAINS = { 1001: "The console is stopping.", 1012: "The server is restarting." };
const TAKEN = 409; // see server.rs
const FREE = 426;

/**
 * `on.frame(buffer)`, `on.state(object)`, `on.open()`,
 * `on.trying(text)`: connecting or waiting to, `on.ended(title, text)`: for good, the visitor decides.
 * `dispatcher`: the path of the dispatcher's own pages, which explain why a session has ended and how to start again; or empty.
 */
export function connect(on, dispatcher) {
  let before;
  let over = false;

  const connection = open({
    url: "play",
    own: dispatcher || null,
    firstMs: 500, // each console has one player: no thundering herd
    longestMs: 10_000,
    stableMs: 3_000,
    isFinal: (code, reason) => (code >= 4001 && code <= 4010) || (code === 1000 && reason !== ""),
    message(data) {
      if (typeof data !== "string") return on.frame(data);
      const message = JSON.parse(data);
      if (message.type === "state") on.state(message);
    },
    state(state) {
      if (over) return;
      if (state.name === "open") on.open();
      else if (state.name === "waiting" || (state.name === "gone" && dispatcher)) reload();
      else if (state.name === "gone") {
        on.ended("This session has ended", state.reason || `The server closed the connection (code ${state.code}).`);
      } else if (state.name === "draining") on.trying(`${DRAINS[state.code]} Reconnecting …`);
      else trying(state);
      before = state.name;
    },
  });

  function trying({ inMs, attempt, status, offline }) {
    if (offline) on.trying("This device is offline. Reconnecting as soon as it is online …");
    else if (inMs === 0) attempt === 1 && before !== "draining" && on.trying("Connecting …");
    else if (before === "open") on.trying("Connection lost. Reconnecting …");
    else if (status === undefined) on.trying("The server does not answer. Trying again …");
    else if (status === TAKEN) on.trying("Another player is using this console. Waiting for them to leave …");
    else if (status === FREE) on.trying("Reconnecting …");
    else reload();
  }

  /** Hands over to the page that the server returns now. */
  function reload() {
    over = true;
    connection.close();
    location.reload();
  }

  return {
    send: (command) => connection.send(JSON.stringify(command)),
    retry: connection.retry,
    reload,
  };
}
