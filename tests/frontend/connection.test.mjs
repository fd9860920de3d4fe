import assert from "node:assert/strict";
import { test } from "node:test";

import { heartbeat } from "../../frontend/connection.js";
import { SCREENS, clockText } from "../../frontend/copy.js";
import { Refusal, nextAttempt } from "../../frontend/endings.js";

function means(code, errorCode, problem, retry) {
  const refusal = new Refusal(code, {}, errorCode);
  assert.deepEqual([refusal.problem, refusal.retry], [problem, retry]);
  assert.ok(SCREENS[problem]);
}

for (const [closeCode, errorCode, problem, retry] of [
  [1001, "session_expired", "unreachable", true],
  [1005, undefined, "unreachable", true],
  [1006, undefined, "unreachable", true],
  [1015, undefined, "unreachable", true],
  [1011, "upstream_unavailable", "provider-down", true],
  [1011, "upstream_closed", "provider-down", true],
  [1011, "internal_error", "provider-down", true],
  [1012, "draining", "provider-down", true],
  [1013, "upstream_busy", "provider-down", true],
  [1002, "invalid_frame", "error", false],
  [1003, "invalid_frame", "error", false],
  [1007, "invalid_frame", "error", false],
  [1008, "policy_violation", "policy", false],
  [1009, "message_too_big", "error", false],
  [3000, "invalid_api_key", "error", false],
  [4400, "invalid_request", "error", false],
  [4401, "token_expired", "pass-expired", false],
  [4401, "token_used", "pass-expired", false],
  [4402, "quota_exhausted", "quota", false],
  [4402, "budget_exhausted", "budget", false],
  [4403, "session_revoked", "policy", false],
  [4408, "idle_timeout", "long-silence", false],
  [4408, "slow_consumer", "unreachable", false],
  [4410, "session_limit_reached", "time-up", false],
  [4429, "too_many_sessions", "busy", false],
  [4999, "never heard of", "error", false],
]) {
  test(`close ${closeCode} ${errorCode ?? ""} is shown as ${problem}`, () => means(closeCode, errorCode, problem, retry));
}

for (const [status, errorCode, problem, retry] of [
  [0, undefined, "unreachable", true],
  [400, "invalid_request", "error", false],
  [401, "invalid_token", "signed-out", false],
  [402, "quota_exhausted", "quota", false],
  [403, "origin_not_allowed", "signed-out", false],
  [403, "blocked", "policy", false],
  [429, "rate_limited", "busy", false],
  [500, "internal_error", "provider-down", true],
  [503, "unavailable", "provider-down", true],
]) {
  test(`a token refused with ${status} ${errorCode ?? ""} is shown as ${problem}`, () => means(status, errorCode, problem, retry));
}

test("five attempts, each twice as late, then no more", () => {
  const delays = [500, 1000, 2000, 4000, 8000];
  delays.forEach((delay, made) => assert.deepEqual(nextAttempt(made, -Infinity, 0.5), { attempt: made + 1, delay }));
  assert.equal(nextAttempt(5, -Infinity), null);
});

test("delays are spread by 20 %, so that a restart brings nobody back at once", () => {
  assert.deepEqual([0, 1].map((random) => nextAttempt(0, 0, random).delay), [400, 600]);
  const delays = Array.from({ length: 100 }, () => nextAttempt(0, 0).delay);
  assert.ok(delays.every((delay) => delay >= 400 && delay <= 600) && new Set(delays).size > 50);
});

test("only half a minute of health starts the count anew", () => {
  assert.equal(nextAttempt(1, 29999).attempt, 2);
  assert.equal(nextAttempt(5, 30000).attempt, 1);
});

for (const [name, problem] of [
  ["NotAllowedError", "denied"],
  ["NotFoundError", "no-microphone"],
  ["OverconstrainedError", "no-microphone"],
  ["NotReadableError", "busy-microphone"],
  ["AbortError", "busy-microphone"],
  ["SecurityError", "insecure"],
  ["TypeError", "old-browser"],
  ["NewError", "error"],
]) {
  test(`${name} of the microphone is shown as ${problem}`, () => means(name, undefined, problem, false));
}

test("clock texts", () => {
  assert.deepEqual([0, 0.2, 59.5, 61, 600, 3599].map(clockText), ["0:00", "0:01", "1:00", "1:01", "10:00", "59:59"]);
});

/** `setInterval` by hand, since the mock timers of Node 18 and 20 are switched on differently. */
function handIntervals() {
  const { setInterval, clearInterval } = globalThis;
  const running = new Map();
  globalThis.setInterval = (call, every) => {
    const id = Symbol("interval");
    running.set(id, { call, every, left: every });
    return id;
  };
  globalThis.clearInterval = (id) => running.delete(id);
  return {
    tick(milliseconds) {
      for (const interval of [...running.values()]) {
        interval.left -= milliseconds;
        if (interval.left > 0) continue;
        interval.left += interval.every;
        interval.call();
      }
    },
    reset: () => Object.assign(globalThis, { setInterval, clearInterval }),
  };
}

function beating() {
  const intervals = handIntervals();
  let now = 0;
  let slow = false;
  const told = [];
  const asked = [];
  const beat = heartbeat({
    send: (t) => asked.push(t),
    onSlow: (on) => on !== slow && told.push((slow = on) ? "slow" : "well"),
    onDead: () => {
      told.push("dead");
      beat.stop();
    },
    now: () => now,
  });
  const pass = (milliseconds) => {
    for (let passed = 0; passed < milliseconds; passed += 100) {
      now += 100;
      intervals.tick(100);
    }
  };
  beat.start();
  return { beat, told, asked, pass, done: intervals.reset };
}

test("answers in time are nothing to tell", () => {
  const { beat, told, asked, pass, done } = beating();
  for (let i = 0; i < 5; i++) {
    pass(1000);
    beat.answered(asked.at(-1));
    pass(1000);
  }
  assert.deepEqual(told, []);
  assert.ok(asked.length >= 5);
  done();
});

test("an answer older than 2 s is slow; when it comes, all is well", () => {
  const { beat, told, asked, pass, done } = beating();
  pass(3000);
  assert.deepEqual(told, ["slow"]);
  beat.answered(asked.at(-1));
  assert.deepEqual(told, ["slow", "well"]);
  done();
});

test("no answer for 8 s is a dead connection, told once", () => {
  const { told, pass, done } = beating();
  pass(20000);
  assert.deepEqual(told, ["slow", "dead"]);
  done();
});
