import assert from "node:assert/strict";
import { test } from "node:test";

import { SCREENS, describe } from "../../frontend/copy.js";
import { IDLE, next, screenOf } from "../../frontend/state.js";

const EVENTS = [
  { type: "start", mode: "voice" },
  { type: "start", mode: "text" },
  { type: "microphone" },
  { type: "connected" },
  { type: "dropped", attempt: 3 },
  { type: "over", details: { seconds: 61, turns: 2 } },
  ...Object.keys(SCREENS).map((problem) => ({ type: "over", problem, details: { message: "Why." } })),
  { type: "cancelled" },
  { type: "muted", on: true },
  { type: "muted", on: false },
  { type: "speech-started", interrupts: true },
  { type: "speech-started", interrupts: false },
  { type: "speech-stopped" },
  { type: "settled" },
  { type: "answering" },
  { type: "answered" },
  { type: "sound-started" },
  { type: "sound-stopped" },
  { type: "paused", on: true },
  { type: "paused", on: false },
  { type: "slow", on: true },
  { type: "slow", on: false },
  { type: "manual", on: true },
  { type: "manual", on: false },
  { type: "holding", on: true },
  { type: "holding", on: false },
  { type: "something new" },
];

const after = (...events) => events.map((e) => (typeof e === "string" ? { type: e } : e)).reduce(next, IDLE);
const live = (...events) => after({ type: "start", mode: "voice" }, "microphone", "connected", ...events);
const speechStarted = { type: "speech-started", interrupts: true };

/** Every state that any sequence of events can reach. */
function reachable() {
  const known = new Map([[JSON.stringify(IDLE), IDLE]]);
  for (const state of known.values()) {
    for (const event of EVENTS) {
      const then = next(state, event);
      known.set(JSON.stringify(then), then);
    }
  }
  return [...known.values()];
}

test("every event in every reachable state leads to a state that has words", () => {
  const states = reachable();
  assert.ok(states.length > 100);
  for (const state of states) {
    assert.deepEqual(Object.keys(state).sort(), Object.keys(IDLE).sort());
    const screen = screenOf(state);
    assert.ok(SCREENS[screen], `no words for ${screen}`);
    const row = describe(screen, state);
    assert.equal(typeof row.hint, "string");
    assert.equal(typeof row.remedy, "string");
    assert.ok(row.heading.endsWith(".") && row.main.text && row.main.action);
    assert.doesNotMatch(`${row.heading} ${row.hint} ${row.remedy}`, /undefined|NaN|null|!|[Ss]orry|Oops/);
  }
});

test("at rest nothing of a session is left", () => {
  for (const state of reachable().filter(({ phase }) => ["idle", "ended", "failed"].includes(phase))) {
    const { hearing, thinking, sounding, paused, muted, slow, holding } = state;
    assert.ok(![hearing, thinking, sounding, paused, muted, slow, holding].includes(true));
  }
});

test("an ordinary turn passes through all its screens", () => {
  const turn = [speechStarted, "speech-stopped", "answering", "sound-started", "answered", "sound-stopped"];
  const screens = turn.map((_, i) => screenOf(live(...turn.slice(0, i + 1))));
  assert.deepEqual(screens, ["hearing", "thinking", "thinking", "speaking", "speaking", "listening"]);
});

test("speech over the answer is an interruption, then ordinary speech", () => {
  const interrupted = live("answering", "sound-started", speechStarted, "sound-stopped");
  assert.equal(screenOf(interrupted), "interrupted");
  assert.equal(screenOf(next(interrupted, { type: "settled" })), "hearing");
});

test("where speech may not interrupt, the assistant goes on", () => {
  assert.equal(screenOf(live("sound-started", { type: "speech-started", interrupts: false })), "speaking");
});

test("the page never says it hears while it is muted", () => {
  for (const state of reachable().filter(({ muted }) => muted)) {
    assert.ok(!["listening", "hearing", "interrupted"].includes(screenOf(state)) || state.interrupted);
  }
});

test("typing asks for no microphone", () => {
  assert.equal(screenOf(after({ type: "start", mode: "text" })), "connecting");
  assert.equal(screenOf(after({ type: "start", mode: "text" }, "connected")), "ready");
});

test("a lost connection forgets who was speaking, and comes back listening", () => {
  const dropped = live("sound-started", { type: "slow", on: true }, { type: "dropped", attempt: 2 });
  assert.match(describe("reconnecting", dropped).hint, /2 of 5/);
  assert.equal(screenOf(next(dropped, { type: "connected" })), "listening");
});

test("mute survives a reconnection", () => {
  const muted = live({ type: "muted", on: true }, { type: "dropped", attempt: 1 }, "connected");
  assert.equal(screenOf(muted), "muted");
});

test("a start in the middle of a session changes nothing", () => {
  const state = live();
  assert.equal(next(state, { type: "start", mode: "text" }), state);
});

test("the button stands for one thing in every state", () => {
  assert.equal(describe("idle", IDLE).main.text, "Start talking");
  assert.equal(describe("listening", live()).main.text, "End");
  assert.equal(describe("ended", after({ type: "start", mode: "voice" }, "over")).main.text, "Start again");
});
