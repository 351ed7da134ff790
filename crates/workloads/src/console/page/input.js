// Input from keyboard, touch and gamepad. Each source has its own set of pressed keys; the machine gets their union.

// The machine's keypad in the order of the block from 1 to V on a keyboard: 123C 456D 789E A0BF.
export const BLOCK = [1, 2, 3, 12, 4, 5, 6, 13, 7, 8, 9, 14, 10, 0, 11, 15];
const BLOCK_CODES = [
  "Digit1", "Digit2", "Digit3", "Digit4", "KeyQ", "KeyW", "KeyE", "KeyR",
  "KeyA", "KeyS", "KeyD", "KeyF", "KeyZ", "KeyX", "KeyC", "KeyV",
];
const CODES = { ArrowUp: 5, ArrowDown: 8, ArrowLeft: 7, ArrowRight: 9, Space: 6, Enter: 6 };
BLOCK_CODES.forEach((code, at) => (CODES[code] = BLOCK[at]));

// Standard gamepad: four buttons, then the cross.
const PAD_BUTTONS = { 0: 6, 1: 6, 2: 6, 3: 6, 12: 5, 13: 8, 14: 7, 15: 9 };
const PAD_START = 9;

/** Calls `send(key, down)` when a key of the machine changes, and `pause()` for P and Start. */
export function listen(send, pause) {
  const sources = new Map(); // name of a source → set of keys
  let down = new Set();

  function update(source, keys) {
    sources.set(source, keys);
    const now = new Set([...sources.values()].flatMap((keys) => [...keys]));
    for (const key of down) if (!now.has(key)) send(key, false);
    for (const key of now) if (!down.has(key)) send(key, true);
    down = now;
    for (const button of document.querySelectorAll("[data-key]")) {
      button.classList.toggle("down", now.has(Number(button.dataset.key)));
    }
  }

  const codes = new Set();
  const keysOf = () => new Set([...codes].map((code) => CODES[code]));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const control = event.target.closest?.("button, select, summary, input, a");
    const presses = event.code === "Space" || event.code === "Enter";
    if (control && (presses || control.tagName === "SELECT" || control.role === "radio")) return;
    if (event.code === "KeyP" && !event.repeat) pause();
    if (!(event.code in CODES)) return;
    event.preventDefault();
    codes.add(event.code);
    update("keyboard", keysOf());
  });
  addEventListener("keyup", (event) => {
    if (codes.delete(event.code)) update("keyboard", keysOf());
  });

  // A finger may slide from one button to the next; each finger is a source.
  const keyAt = (event) => document.elementFromPoint(event.clientX, event.clientY)?.closest("[data-key]");
  const touch = (event) => {
    const button = keyAt(event);
    update(`pointer ${event.pointerId}`, new Set(button ? [Number(button.dataset.key)] : []));
  };
  const fingers = new Set();
  addEventListener("pointerdown", (event) => {
    if (!event.target.closest?.("[data-key]")) return;
    event.target.releasePointerCapture?.(event.pointerId);
    fingers.add(event.pointerId);
    touch(event);
  });
  addEventListener("pointermove", (event) => fingers.has(event.pointerId) && touch(event));
  const lift = (event) => {
    if (!fingers.delete(event.pointerId)) return;
    sources.delete(`pointer ${event.pointerId}`);
    update("pointer", new Set());
  };
  addEventListener("pointerup", lift);
  addEventListener("pointercancel", lift);
  // Buttons of the pad also work with the keyboard and with switch devices: a click is a short press.
  addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-key]");
    if (!button || event.detail > 0) return;
    update("click", new Set([Number(button.dataset.key)]));
    setTimeout(() => update("click", new Set()), 120);
  });
  addEventListener("contextmenu", (event) => event.target.closest?.("[data-key]") && event.preventDefault());

  let polling = false;
  let started = false;
  function poll() {
    const pads = navigator.getGamepads().filter(Boolean);
    polling = pads.length > 0;
    const keys = new Set();
    let start = false;
    for (const pad of pads) {
      for (const [at, key] of Object.entries(PAD_BUTTONS)) if (pad.buttons[at]?.pressed) keys.add(key);
      const [x = 0, y = 0] = pad.axes;
      if (x < -0.4) keys.add(7);
      if (x > 0.4) keys.add(9);
      if (y < -0.4) keys.add(5);
      if (y > 0.4) keys.add(8);
      start ||= pad.buttons[PAD_START]?.pressed ?? false;
    }
    if (start && !started) pause();
    started = start;
    update("gamepad", keys);
    if (polling) requestAnimationFrame(poll);
  }
  addEventListener("gamepadconnected", () => polling || poll());

  const release = () => {
    codes.clear();
    fingers.clear();
    sources.clear();
    update("keyboard", new Set());
  };
  addEventListener("blur", release);
  document.addEventListener("visibilitychange", () => document.hidden && release());
  return { release };
}
