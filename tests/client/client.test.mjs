// Tests the behaviour that CLIENT.md describes, with a simulated clock: run by `node --test`, from tests/client.rs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { opened, world } from "./world.mjs";

const OWN = "/.slotkeeper/";
const queued = (position) => ({ state: "queued", position, estimate_seconds: 40, steps: [] });
/** A dispatcher with these facts as its status, in front of a pod with this response to plain requests. */
const dispatcher = (facts, pod = [426]) => (url) => (url.endsWith("/.slotkeeper/status") ? [200, facts] : pod);

test("connects relative to the address of the page, and delivers messages", async () => {
  const it = await world({ url: "../socket?room=1#top", protocols: ["v2"], at: "https://pod.example/a/b/" });
  assert.equal(it.last.url, "wss://pod.example/a/socket?room=1");
  assert.deepEqual([it.last.protocols, it.last.binaryType], [["v2"], "arraybuffer"]);
  assert.deepEqual(it.states, [{ name: "connecting", attempt: 1, inMs: 0 }]);
  assert.equal(it.connection.send("too early"), false);
  it.last.accept();
  it.last.receive("hello");
  assert.deepEqual(it.state, { name: "open", resumed: false });
  assert.deepEqual(it.messages, ["hello"]);
  assert.equal(it.connection.send("hi"), true);
  assert.deepEqual(it.last.sent, ["hi"]);
  assert.equal(it.connection.state, it.state);
});

test("reports no state before the page has the connection", async () => {
  let told = 0;
  const state = () => (told += 1);
  await world({ state, atOnce: (connection) => assert.deepEqual([told, connection.state.name], [0, "connecting"]) });
  assert.equal(told, 1);
});

test("delays are random from 0 to a limit that doubles each time", async () => {
  for (const dice of [0, 0.25, 0.999]) {
    const it = await opened();
    it.dice = dice;
    await it.pass(5_000);
    it.last.end();
    for (const longest of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
      assert.equal(it.state.name, "connecting");
      assert.equal(it.inMs, Math.round(dice * longest));
      const before = it.sockets.length;
      if (dice) {
        await it.pass(it.inMs - 1);
        assert.equal(it.sockets.length, before, "not sooner");
      }
      await it.pass(2);
      assert.equal(it.sockets.length, before + 1);
      it.last.end();
      await it.settle();
    }
  }
});

test("numbers the attempts, and starts over after a socket that stayed open", async () => {
  const it = await world();
  for (let attempt = 1; attempt < 4; attempt += 1) {
    assert.deepEqual(it.state, { name: "connecting", attempt, inMs: 0 });
    it.last.end();
    await it.settle();
    assert.equal(it.state.attempt, attempt + 1);
    await it.pass(30_000);
  }
  it.last.accept();
  await it.pass(5_000);
  it.last.end();
  assert.equal(it.state.attempt, 2, "the attempt after the first failed one");
  assert.equal(it.inMs, 500);
});

test("delays grow if a server accepts and soon closes", async () => {
  const it = await world();
  for (const longest of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000]) {
    it.last.accept();
    await it.pass(4_999);
    it.last.end(1011);
    assert.equal(it.inMs, longest / 2);
    await it.pass(longest);
  }
  assert.equal(it.connection.state.name, "connecting");
});

test("resumes, at an address that is computed for each attempt", async () => {
  let last = 0;
  const it = await opened({ url: () => `ws?after=${last}` });
  assert.match(it.last.url, /after=0$/);
  last = 17;
  it.last.end();
  await it.pass(1_000);
  assert.match(it.last.url, /after=17$/);
  it.last.accept();
  assert.deepEqual(it.state, { name: "open", resumed: true });
});

test("reports a drain and a restart, and reconnects after a random pause", async () => {
  for (const code of [1001, 1012]) {
    const it = await opened();
    await it.pass(60_000);
    it.last.end(code, "pod_draining");
    assert.deepEqual(it.state, { name: "draining", code, reason: "pod_draining", inMs: 500 });
    assert.equal(it.sockets.length, 1);
    await it.pass(500);
    assert.deepEqual(it.state, { name: "connecting", attempt: 2, inMs: 0 });
    it.last.accept();
    assert.deepEqual(it.names, ["connecting", "open", "draining", "connecting", "open"]);
    assert.deepEqual(it.asked, [], "no request, as the code is enough");
  }
});

test("final close codes are final, the others are not", async () => {
  const table = [
    [1000, "", true],
    [1000, "bye", true],
    [1008, "no", true],
    [4001, "kicked", true],
    [4001, "idle", true],
    [4001, "no_show", true],
    [4001, "", true],
    [4010, "", true],
    [4001, "disconnected", false],
    [4001, "pod_lost", false],
    [4000, "", false],
    [4011, "", false],
    [1001, "", false],
    [1005, "", false],
    [1006, "", false],
    [1011, "", false],
    [1012, "", false],
    [1013, "", false],
  ];
  for (const [code, reason, final] of table) {
    const it = await opened();
    it.last.end(code, reason);
    await it.pass(final ? 3_600_000 : 1_000);
    if (final) assert.deepEqual(it.state, { name: "gone", code, reason });
    assert.equal(it.sockets.length, final ? 1 : 2, `${code} ${reason}`);
    if (final) assert.equal(it.timers, 0, "no timer is left");
  }
  const it = await opened({ isFinal: (code, reason) => code === 4500 && reason === "moved" });
  it.last.end(4001, "kicked");
  assert.equal(it.state.name, "connecting");
  await it.pass(1_000);
  it.last.accept();
  it.last.end(4500, "moved");
  assert.deepEqual(it.state, { name: "gone", code: 4500, reason: "moved" });
});

test("in the state gone, a button begins another session and connects", async () => {
  const it = await opened({ own: OWN, answers: () => [303] });
  it.last.end(4001, "kicked");
  it.connection.retry();
  it.connection.retry();
  await it.settle();
  assert.deepEqual(it.asked, ["POST http://pod.example/.slotkeeper/join"], "one session, however often it is pressed");
  assert.deepEqual([it.sockets.length, it.live], [2, 1]);
  assert.equal(it.state.name, "connecting");
});

test("waits in the queue: reports the position, and connects when there is a slot", async () => {
  const it = await world({ own: OWN, answers: dispatcher(queued(2)) });
  it.last.end();
  await it.settle();
  assert.deepEqual(it.state, { name: "waiting", position: 2, estimateSeconds: 40, reason: null });
  await it.pass(4_000);
  assert.deepEqual(it.asked.slice(1), ["GET http://pod.example/.slotkeeper/status"], "every few seconds");
  it.answers = dispatcher({ ...queued(1), reason: "pod_lost" });
  await it.pass(4_000);
  assert.deepEqual([it.state.position, it.state.reason], [1, "pod_lost"]);
  assert.equal(it.sockets.length, 1, "no socket while waiting");
  it.answers = dispatcher({ state: "ready" });
  await it.pass(5_000);
  assert.equal(it.sockets.length, 2);
  it.last.accept();
  assert.deepEqual(it.state, { name: "open", resumed: false });
  await it.pass(120_000);
  assert.equal(it.asked.filter((url) => url.endsWith("status")).length, 4, "no more requests");
});

test("waits on the event stream if there is one, and polls if it breaks", async () => {
  const it = await world({ own: OWN, streams: true, answers: dispatcher(queued(3)) });
  it.last.end();
  await it.settle();
  const [stream] = it.sources;
  assert.equal(stream.url, "http://pod.example/.slotkeeper/events");
  await it.pass(60_000);
  assert.equal(it.asked.length, 1, "no polling beside a stream");
  stream.say(queued(2));
  assert.equal(it.state.position, 2);
  stream.happen("again");
  assert.deepEqual(it.sources.map((source) => source.open), [false, true]);
  it.sources[1].onerror();
  assert.equal(it.sources[1].open, false);
  await it.pass(5_000);
  assert.deepEqual([it.asked.length, it.sources.length], [2, 3]);
  await it.pass(90_000);
  assert.deepEqual([it.asked.length, it.sources.length], [3, 4], "a silent stream is given up");
  assert.deepEqual(it.sources.map((source) => source.open), [false, false, false, true]);
  stream.say({ state: "ready" });
  assert.equal(it.state.name, "waiting", "an old stream is ignored");
  it.sources[3].say({ state: "ready" });
  assert.equal(it.sources[3].open, false);
  await it.pass(1_000);
  it.last.accept();
  assert.equal(it.state.name, "open");
  assert.equal(it.live, 1);
});

test("polls a full queue again after a while", async () => {
  const it = await world({ own: OWN, streams: true, answers: dispatcher({ state: "full" }) });
  it.last.end();
  await it.settle();
  assert.deepEqual(it.state, { name: "waiting", position: null, estimateSeconds: null, reason: "full" });
  await it.pass(15_000);
  assert.equal(it.asked.length, 1);
  await it.pass(15_000);
  assert.equal(it.asked.length, 2);
  assert.equal(it.sources.length, 0);
});

test("reports an ended session with its reason, or connects again if nothing ended it on purpose", async () => {
  for (const reason of ["kicked", "idle", "time_up", "left", "no_show", "pool_removed"]) {
    const it = await world({ own: OWN, answers: dispatcher({ state: "ended", reason }) });
    it.last.end();
    await it.pass(60_000);
    assert.deepEqual(it.state, { name: "gone", code: 4001, reason });
    assert.equal(it.sockets.length, 1);
  }
  for (const reason of ["disconnected", "left_queue", "pod_lost"]) {
    const it = await world({ own: OWN, answers: dispatcher({ state: "ended", reason }) });
    it.last.end();
    await it.pass(1_000);
    assert.equal(it.sockets.length, 2, reason);
  }
});

test("reports the response to a plain request, which the dispatcher passes on", async () => {
  const it = await world({ own: OWN, answers: dispatcher({ state: "ready" }, [409, {}]) });
  it.last.end();
  await it.settle();
  assert.deepEqual(it.asked, ["GET http://pod.example/.slotkeeper/status", "GET http://pod.example/chat/ws"]);
  assert.deepEqual(it.state, { name: "connecting", attempt: 2, inMs: 500, status: 409 });
});

test("reports a redirect, such as to a login, as one", async () => {
  for (const own of [OWN, null]) {
    const it = await world({ own, answers: () => ["redirect"] });
    it.last.end();
    await it.settle();
    assert.deepEqual([it.state.name, it.state.status], ["connecting", 302]);
  }
});

test("reports an unchanged position once", async () => {
  const it = await world({ own: OWN, answers: dispatcher(queued(4)) });
  it.last.end();
  await it.pass(60_000);
  assert.ok(it.asked.length > 10);
  assert.deepEqual(it.names, ["connecting", "waiting"]);
});

test("honours Retry-After of dispatcher and pod, in both formats", async () => {
  const date = (ms) => new Date(ms).toUTCString();
  const cases = [
    { answers: () => [503, {}, { "retry-after": "20" }], from: 20_000, to: 21_000 },
    { answers: () => [429, {}, { "retry-after": "7" }], from: 7_000, to: 8_000 },
    { own: OWN, answers: () => [503, {}, { "retry-after": "20" }], from: 20_000, to: 21_000 },
    { own: OWN, answers: dispatcher({ state: "ready" }, [503, {}, { "retry-after": "12" }]), from: 12_000, to: 13_000 },
    { answers: () => [503, {}, { "retry-after": date(1_000_000 + 90_000) }], from: 90_000, to: 91_000 },
    { answers: () => [503, {}, { "retry-after": date(0) }], from: 0, to: 1_000 },
    { answers: () => [503, {}, { "retry-after": "soon" }], from: 0, to: 1_000 },
    { answers: () => [503, {}, { "retry-after": "99999999999" }], from: 3_600_000, to: 3_601_000 },
    { answers: () => [200, {}, { "retry-after": "20" }], from: 0, to: 1_000 },
  ];
  for (const { from, to, ...options } of cases) {
    for (const dice of [0, 0.999]) {
      const it = await world(options);
      it.dice = dice;
      it.last.end();
      await it.settle();
      assert.ok(it.inMs >= from && it.inMs <= to, `${it.inMs} for ${from}`);
      assert.equal(it.inMs, Math.round(from + dice * 1_000), "and a random part, so that not all clients come at once");
      it.window.happen("online");
      await it.pass(from - 1);
      if (from) assert.equal(it.sockets.length, 1, "no event makes it connect sooner");
      await it.pass(1_001);
      assert.equal(it.sockets.length, 2);
    }
  }
});

test("a page that is shown again honours a Retry-After too", async () => {
  const it = await world({ answers: () => [503, {}, { "retry-after": "600" }] });
  it.last.end();
  await it.settle();
  it.window.happen("pagehide", { persisted: true });
  await it.pass(1_000);
  it.window.happen("pageshow", { persisted: true });
  assert.equal(it.inMs, 599_500);
  await it.pass(599_000);
  assert.equal(it.sockets.length, 1);
  await it.pass(1_000);
  assert.equal(it.sockets.length, 2);
});

test("a button does not wait for Retry-After", async () => {
  const it = await world({ answers: () => [503, {}, { "retry-after": "600" }] });
  it.last.end();
  await it.settle();
  await it.connection.retry();
  assert.equal(it.sockets.length, 2);
});

test("keeps trying without any response", async () => {
  for (const said of [undefined, "silence", "half an answer"]) {
    const it = await world({ own: OWN, answers: () => said });
    it.last.end();
    await it.pass(20_000);
    assert.ok(it.sockets.length >= 2, `${said}`);
    assert.equal(it.states[1].status, said === "half an answer" ? 200 : undefined);
  }
});

test("keeps trying after invalid responses", async () => {
  for (const said of [[200, "<html>"], [200, "null"], [200, { state: "unheard of" }], [404, "nothing"], [302, ""]]) {
    const it = await world({ own: OWN, answers: () => said });
    it.last.end();
    await it.pass(2_000);
    assert.ok(it.sockets.length >= 2, JSON.stringify(said));
  }
});

test("gives up an attempt that does not finish, and never has two sockets", async () => {
  const it = await world();
  const first = it.last;
  await it.pass(29_999);
  assert.equal(it.sockets.length, 1);
  await it.pass(1_000);
  assert.equal(it.sockets.length, 2);
  assert.equal(first.closedWith, "no code");
  first.accept(); // too late
  first.end(4001, "kicked");
  assert.equal(it.state.name, "connecting");
  for (const poke of [() => it.connection.retry(), () => it.window.happen("online"), () => it.page.happen("visibilitychange")]) {
    for (let i = 0; i < 3; i += 1) {
      poke();
      await it.pass(100);
      assert.ok(it.live <= 1);
    }
  }
  it.last.accept();
  const count = it.sockets.length;
  it.connection.retry();
  it.window.happen("online");
  it.page.happen("visibilitychange");
  await it.pass(60_000);
  assert.equal(it.sockets.length, count, "an open socket is left alone");
});

test("makes no attempt while offline, and one soon when online", async () => {
  const it = await opened();
  navigator.onLine = false;
  it.last.end();
  await it.pass(600_000);
  assert.equal(it.sockets.length, 1);
  assert.deepEqual(it.state, { name: "connecting", attempt: 2, inMs: null, offline: true });
  navigator.onLine = true;
  it.window.happen("online");
  assert.equal(it.sockets.length, 1, "not at the same moment as all others in the same network");
  await it.pass(1_000);
  assert.equal(it.sockets.length, 2);

  const begun = await world({ online: false });
  assert.deepEqual([begun.sockets.length, begun.state.offline], [0, true]);
  await begun.connection.retry();
  assert.equal(begun.sockets.length, 1, "a button may always try");
  for (const at of ["http://localhost:80/", "http://127.0.0.1:8/", "http://[::1]:8/"]) {
    assert.equal((await world({ online: false, at })).sockets.length, 1, "this machine needs no network");
  }
});

test("going online or showing the page shortens a long wait", async () => {
  for (const [whom, what] of [["window", "online"], ["page", "visibilitychange"]]) {
    const it = await world();
    for (let i = 0; i < 6; i += 1) {
      it.last.end();
      await it.pass(it.inMs ?? 30_000);
    }
    it.last.end();
    await it.settle();
    assert.equal(it.inMs, 15_000);
    const before = it.sockets.length;
    it.page.visibilityState = "hidden";
    it.page.happen("visibilitychange");
    await it.pass(2_000);
    assert.equal(it.sockets.length, before, "nobody looks");
    it.page.visibilityState = "visible";
    it[whom].happen(what);
    assert.equal(it.inMs, 500, "and the new delay is reported");
    await it.pass(1_000);
    assert.equal(it.sockets.length, before + 1);
  }
});

test("a page in the back/forward cache has no socket, and gets one when it is shown again", async () => {
  const it = await opened();
  it.window.happen("pagehide", { persisted: true });
  assert.equal(it.last.closedWith, "no code");
  assert.equal(it.timers, 0);
  it.sleep(3_600_000);
  it.window.happen("pageshow", { persisted: false });
  assert.equal(it.sockets.length, 1);
  it.window.happen("pageshow", { persisted: true });
  it.last.accept();
  assert.deepEqual([it.sockets.length, it.live, it.state.resumed], [2, 1, true]);

  const gone = await opened();
  gone.last.end(1008);
  gone.window.happen("pagehide");
  gone.window.happen("pageshow", { persisted: true });
  assert.equal(gone.sockets.length, 1);
});

test("close is final in every state", async () => {
  const states = {
    connecting: () => world(),
    opened: () => opened(),
    async backingOff() {
      const it = await opened();
      it.last.end();
      return it;
    },
    async draining() {
      const it = await opened();
      it.last.end(1001);
      return it;
    },
    async asking() {
      const it = await world({ own: OWN, answers: () => "silence" });
      it.last.end();
      await it.settle();
      return it;
    },
    async waiting() {
      const it = await world({ own: OWN, streams: true, answers: dispatcher(queued(1)) });
      it.last.end();
      await it.settle();
      assert.equal(it.state.name, "waiting");
      return it;
    },
    offline: () => world({ online: false }),
    async gone() {
      const it = await opened();
      it.last.end(4001, "kicked");
      return it;
    },
    beforeItBegan: () => world({ atOnce: (connection) => connection.close() }),
    async joining() {
      const it = await opened({ own: OWN, answers: () => "silence" });
      it.last.end(4001, "kicked");
      it.connection.retry();
      return it;
    },
  };
  for (const [name, arrive] of Object.entries(states)) {
    const it = await arrive();
    const socket = it.last;
    const live = socket?.readyState < 2;
    it.connection.close();
    it.connection.close();
    if (live) assert.equal(socket.closedWith, 1000, name);
    assert.equal(it.connection.state.name, "gone", name);
    if (!["gone", "joining"].includes(name)) assert.deepEqual(it.connection.state, { name: "gone", code: 1000, reason: "" });
    const count = it.sockets.length;
    await it.connection.retry();
    it.window.happen("online");
    it.window.happen("pageshow", { persisted: true });
    it.page.happen("visibilitychange");
    await it.pass(3_600_000);
    assert.deepEqual([it.sockets.length, it.live], [count, 0], name);
    assert.ok(it.sources.every((source) => !source.open), name);
    assert.ok(it.timers <= 1, name); // the time limit of a request whose response is no longer needed
  }
});

test("a page may close, retry or throw while it gets a state", async () => {
  for (const act of ["close", "retry"]) {
    for (const name of ["connecting", "open", "draining", "waiting", "gone"]) {
      let acted = false;
      const it = await world({
        streams: true,
        own: name === "waiting" ? OWN : null,
        answers: name === "waiting" ? dispatcher(queued(1)) : () => undefined,
        state(state) {
          it?.states.push(state);
          if (state.name !== name || state.inMs === 0 || acted) return;
          acted = true;
          it.connection[act]();
        },
      });
      if (name !== "connecting" && name !== "waiting") it.last.accept();
      if (name !== "open") it.last.end({ draining: 1001, gone: 1008 }[name]);
      await it.pass(1);
      assert.ok(acted, name);
      const expected = act === "close" ? 0 : 1;
      assert.equal(it.live, expected, `${act} when ${name}`);
      assert.ok(it.sources.every((source) => !source.open), `${act} when ${name}`);
    }
  }
  const errors = [];
  console.error = (error) => errors.push(error.message);
  const it = await world({
    state() {
      throw new Error("a mistake of the page");
    },
  });
  it.last.accept();
  it.last.end();
  await it.pass(1_000);
  assert.equal(it.sockets.length, 2);
  assert.equal(new Set(errors).size, 1);
});

test("an invalid address ends it, with the reason", async () => {
  for (const url of ["http://[", () => { throw new Error("no room chosen"); }]) {
    const it = await world({ url });
    assert.equal(it.state.name, "gone");
    assert.equal(it.state.code, null);
    assert.ok(it.state.reason);
    await it.pass(3_600_000);
    assert.equal(it.states.length, 1);
  }
});

test("a silent server is noticed only if the page sets silentMs", async () => {
  const patient = await opened();
  await patient.pass(3_600_000);
  assert.equal(patient.state.name, "open");

  const it = await opened({ silentMs: 10_000 });
  for (let i = 0; i < 5; i += 1) {
    await it.pass(9_000);
    it.last.receive("tick");
  }
  assert.equal(it.state.name, "open");
  await it.pass(10_000);
  assert.equal(it.state.name, "connecting");
  assert.equal(it.live, 0);
  await it.pass(1_000);
  it.last.accept();
  assert.equal(it.state.resumed, true);
});

test("a herd of clients reconnects spread over the whole pause", async () => {
  const arrivals = [];
  for (let i = 0; i < 1_000; i += 1) {
    const it = await opened({ firstMs: 4_000 });
    it.dice = i / 1_000;
    await it.pass(5_000);
    it.last.end(1012);
    arrivals.push(it.inMs);
  }
  for (let second = 0; second < 4; second += 1) {
    const count = arrivals.filter((ms) => Math.floor(ms / 1_000) === second).length;
    assert.equal(count, 250);
  }
});
