// Messages that have been sent and not been confirmed: kept, also over a reload of the page, and sent again with the same id
// until the gateway has them. The id makes repetition harmless.

const KEY = "slotkeeper-chat-outbox";
const MOST = 100;
/** Temporary refusals: the message is sent again, after this many ms (`null`: when Redis is back). */
const PASSING = { redis: null, unsure: 1_000, busy: 1_000, "too-fast": 1_000 };

/** `send(text)`: true if it was sent. `changed(messages)`: the unconfirmed messages, oldest first. */
export function outbox({ send, changed }) {
  let messages = [];
  let timer;
  try {
    messages = JSON.parse(sessionStorage.getItem(KEY)) ?? [];
  } catch {
    // Without storage the messages are lost with the page.
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
    /** Returns false if too many messages wait already. */
    say(text) {
      if (messages.length >= MOST) return false;
      const bytes = crypto.getRandomValues(new Uint8Array(16));
      const message = { id: Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(""), text };
      messages.push(message);
      attempt(message);
      keep();
      return true;
    },
    /** The gateway has confirmed the message, or the page has received it. */
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
    /** Removes the messages that were finally refused, once the visitor has seen them. */
    forgetFinal() {
      messages = messages.filter((message) => !message.final);
      keep();
    },
    sendAll,
    show: () => changed(messages),
  };
}
