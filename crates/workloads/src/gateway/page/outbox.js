// What has been said and not been confirmed: kept, also over a reload of the page, and said again with the same id until the
// gateway has it. The id makes that harmless.

const KEY = "slotkeeper-chat-outbox";
const MOST = 100;
/** Refusals that pass: what they were about is said again. */
const PASSING = { redis: null, unsure: 1_000, busy: 1_000, "too-fast": 1_000 };

/** `send(text)`: true if it went out. `changed(messages)`: what is not confirmed now, oldest first. */
export function outbox({ send, changed }) {
  let messages = [];
  let timer;
  try {
    messages = JSON.parse(sessionStorage.getItem(KEY)) ?? [];
  } catch {
    // A page without storage keeps them as long as it lives.
  }

  function keep() {
    try {
      sessionStorage.setItem(KEY, JSON.stringify(messages));
    } catch {
      // As above.
    }
    changed(messages);
  }
  const attempt = (message) => send(JSON.stringify({ type: "say", client_id: message.id, text: message.text }));
  const again = (ms) => {
    clearTimeout(timer);
    timer = setTimeout(sendAll, ms + Math.random() * ms);
  };
  function sendAll() {
    for (const message of messages) {
      if (message.final) continue;
      if (!attempt(message)) return;
    }
  }

  return {
    /** False: too much waits already. */
    say(text) {
      if (messages.length >= MOST) return false;
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      const message = { id: Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(""), text };
      messages.push(message);
      attempt(message);
      keep();
      return true;
    },
    /** The gateway has it, or it has been seen among what all say. */
    sent(id) {
      if (!messages.some((message) => message.id === id)) return;
      messages = messages.filter((message) => message.id !== id);
      keep();
    },
    refused({ client_id: id, why, text }) {
      const message = messages.find((message) => message.id === id);
      if (!message) return;
      if (why in PASSING) {
        if (PASSING[why]) again(PASSING[why]);
      } else {
        message.final = text;
      }
      keep();
    },
    /** Those that will never be delivered have been seen. */
    forgetFinal() {
      messages = messages.filter((message) => !message.final);
      keep();
    },
    sendAll,
    show: () => changed(messages),
  };
}
