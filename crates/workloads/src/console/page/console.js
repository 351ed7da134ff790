// The console's page: connects screen, keys and socket, and shows the state that the server sends.

import { connect } from "./connection.js";
import { BLOCK, listen } from "./input.js";
import { Screen } from "./screen.js";

const $ = (id) => document.getElementById(id);
const screen = new Screen($("screen"));
let state;
let slot = 1;
let noticed = 0;
let followed = ""; // the heading that was last focused

function link(name, text) {
  $("link").dataset.state = name;
  $("link").textContent = text;
}

/** Covers the screen with a message and a button, after 0.25 s (style.css): mostly the first attempt has succeeded by then. */
function curtain(title, text, label, act) {
  $("curtain-title").textContent = title;
  $("curtain-text").textContent = text;
  $("curtain-button").textContent = label;
  $("curtain-button").onclick = act;
  $("curtain").hidden = false;
}

function show(next) {
  state = next;
  const game = state.games.find((game) => game.id && game.id === state.playing);
  document.title = game ? `${game.title} on ${state.pod}` : state.pod;
  $("pod").textContent = state.pod;
  $("menu").hidden = Boolean(game);
  $("playing").hidden = !game;
  $("pad").hidden = !game;
  $("playing-title").textContent = game?.title ?? "";
  $("about").textContent = game?.about ?? "";
  $("about").hidden = !game?.about;
  $("plate-game").textContent = game ? `· ${game.title}${state.paused ? ", paused" : ""}` : "";
  $("lamp").dataset.on = game && !state.paused && !state.halted ? "yes" : "no";
  $("pause").setAttribute("aria-pressed", state.paused);
  $("pause").textContent = state.paused ? "Go on" : "Pause";
  $("sound").setAttribute("aria-pressed", state.sound);
  $("sound").textContent = state.sound ? "Sound" : "Muted";
  $("speed").value = String(state.speed_percent);
  const condition = state.halted ? `halted: ${state.halted}` : state.paused ? "paused" : "running";
  $("screen").setAttribute("aria-label", game ? `Screen of ${game.title}, ${condition}` : "Screen: pick a game");
  document.documentElement.dataset.paused = state.paused ? "yes" : "no";
  games(state.games);
  saves();
  follow();
  if (state.halted) curtain("The machine has halted", `${state.halted[0].toUpperCase()}${state.halted.slice(1)}.`, "Restart", () => send("reset"));
  else if ($("link").dataset.state === "connected") $("curtain").hidden = true;
  if (state.notice && state.notice.number !== noticed) {
    noticed = state.notice.number;
    notice(state.notice.text, state.notice.bad);
  }
}

/** When a game starts or ends, the focused element disappears: moves the focus to the new heading. */
function follow() {
  const heading = state.playing ? "playing-title" : "menu-title";
  if (heading === followed) return;
  if (followed && document.activeElement === document.body) $(heading).focus({ preventScroll: true });
  followed = heading;
}

let shown = "";
function games(list) {
  // Only if it has changed: otherwise buttons would lose the focus.
  if (shown === JSON.stringify(list)) return;
  shown = JSON.stringify(list);
  $("games").replaceChildren(
    ...list.map((game) => {
      const item = document.createElement("li");
      const body = document.createElement(game.unusable ? "div" : "button");
      body.className = game.unusable ? "card unusable" : "card";
      const title = document.createElement("strong");
      title.textContent = game.title;
      const about = document.createElement("span");
      about.textContent = game.unusable ? `Cannot be played: ${game.unusable}` : game.about;
      body.append(title, about);
      if (!game.unusable) {
        body.type = "button";
        body.onclick = () => {
          send("choose", { game: game.id });
          body.blur();
        };
      }
      item.append(body);
      return item;
    }),
  );
}

function saves() {
  for (const id of ["saves", "saves-row"]) $(id).hidden = !state.saving;
  $("saves-off").hidden = state.saving;
  if ($("saves").childElementCount !== state.slots) {
    $("saves").replaceChildren(
      ...Array.from({ length: state.slots }, (_, at) => {
        const button = document.createElement("button");
        button.type = "button";
        button.role = "radio";
        button.textContent = at + 1;
        button.onclick = () => choose(at + 1);
        return button;
      }),
    );
  }
  choose(slot, false);
}

function choose(number, focus = true) {
  slot = number;
  const taken = (number) => state.saves.find((save) => save.slot === number);
  [...$("saves").children].forEach((button, at) => {
    button.setAttribute("aria-checked", at + 1 === slot);
    button.tabIndex = at + 1 === slot ? 0 : -1;
    button.classList.toggle("taken", Boolean(taken(at + 1)));
    button.setAttribute("aria-label", `Slot ${at + 1}, ${taken(at + 1) ? "taken" : "empty"}`);
    if (focus && at + 1 === slot) button.focus();
  });
  $("load").disabled = !taken(slot);
  const at = taken(slot)?.saved_at_ms;
  $("saved-at").textContent = at
    ? new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })
    : "empty";
}

$("saves").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  choose(((slot - 1 + step + state.slots) % state.slots) + 1);
});

let fading;
function notice(text, bad) {
  $("notice").textContent = text;
  $("notice").dataset.bad = bad ? "yes" : "no";
  clearTimeout(fading);
  fading = setTimeout(() => ($("notice").textContent = ""), 6000);
}

// The buzzer. Browsers allow sound only after a gesture.
let audio;
let gain;
function awaken() {
  if (audio) return audio.resume();
  audio = new AudioContext();
  gain = new GainNode(audio, { gain: 0 });
  const tone = new OscillatorNode(audio, { type: "square", frequency: 440 });
  tone.connect(gain).connect(audio.destination);
  tone.start();
}
function beep(on) {
  document.documentElement.dataset.beep = on ? "yes" : "no";
  gain?.gain.setTargetAtTime(on ? 0.05 : 0, audio.currentTime, 0.005);
}
addEventListener("pointerdown", awaken);
addEventListener("keydown", awaken);

// The tube's colour is stored in this browser, not in the session.
function theme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").value = name;
  screen.recolour();
}
const kept = () => {
  try {
    return localStorage.getItem("tube");
  } catch {
    return null;
  }
};
const themes = [...$("theme").options].map((option) => option.value);
theme(themes.includes(kept()) ? kept() : "green");
$("theme").onchange = () => {
  theme($("theme").value);
  try {
    localStorage.setItem("tube", $("theme").value);
  } catch {
    // Without storage it lasts until the page is closed.
  }
  $("theme").blur();
};

$("speed").onchange = () => (send("speed", { percent: Number($("speed").value) }), $("speed").blur());
$("sound").onclick = () => send("sound", { on: !state.sound });
const acts = {
  back: () => send("menu"),
  restart: () => send("reset"),
  pause: () => send("pause", { on: !state.paused }),
  save: () => send("save", { slot }),
  load: () => send("load", { slot }),
};
for (const [id, act] of Object.entries(acts)) {
  $(id).addEventListener("click", (event) => {
    act();
    // After a click, the keys belong to the game again; keyboard users keep their focus.
    if (event.detail > 0) $(id).blur();
  });
}

$("keypad").replaceChildren(
  ...BLOCK.map((key) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.key = key;
    button.textContent = key.toString(16).toUpperCase();
    button.setAttribute("aria-label", `Key ${button.textContent}`);
    return button;
  }),
);

const dispatcher = document.documentElement.dataset.dispatcher;
if (dispatcher) {
  $("leave").hidden = false;
  $("leave").onclick = async () => {
    try {
      const answer = await fetch(`${dispatcher}leave`, { method: "POST", redirect: "manual" });
      if (!answer.ok && answer.type !== "opaqueredirect") throw new Error(`the answer was ${answer.status}`);
      connection.reload();
    } catch (error) {
      notice(`Leaving did not work: ${error.message}.`, true);
    }
  };
}

const connection = connect({
  frame: (buffer) => beep(screen.show(buffer)),
  state: show,
  open() {
    link("connected", "Connected");
    $("curtain").hidden = true;
    fingers.release();
  },
  trying(text) {
    beep(false);
    link("connecting", "Connecting");
    curtain("One moment", text, "Try now", () => connection.retry());
  },
  ended(title, text) {
    beep(false);
    link("ended", "Ended");
    $("lamp").dataset.on = "no";
    for (const part of document.querySelectorAll("aside, .pad")) part.inert = true;
    curtain(title, text, "Play again", () => location.reload());
  },
}, dispatcher);
const send = (type, rest) => connection.send({ type, ...rest });
const fingers = listen(
  (key, down) => send("key", { key, down }),
  () => state?.playing && send("pause", { on: !state.paused }),
);
