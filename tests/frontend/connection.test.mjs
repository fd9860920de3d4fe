import assert from "node:assert/strict";
import { test } from "node:test";

import { Backoff } from "../../frontend/backoff.js";
import { SCREENS } from "../../frontend/copy.js";
import { Deadline, clockText } from "../../frontend/deadline.js";
import { judgeClose, judgeRefusal } from "../../frontend/endings.js";
import { Heartbeat } from "../../frontend/heartbeat.js";

for (const [closeCode, errorCode, problem, retry] of [
  [1000, undefined, null, false],
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
  test(`close ${closeCode} ${errorCode ?? ""} is shown as ${problem ?? "an ordinary end"}`, () => {
    assert.deepEqual(judgeClose(closeCode, errorCode), { problem, retry });
    if (problem) assert.ok(SCREENS[problem]);
  });
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
  test(`a token refused with ${status} ${errorCode ?? ""} is shown as ${problem}`, () => {
    assert.deepEqual(judgeRefusal(status, errorCode), { problem, retry });
    assert.ok(SCREENS[problem]);
  });
}

test("five attempts, each twice as late, then no more", () => {
  const backoff = new Backoff({ now: () => 0, random: () => 0.5 });
  assert.deepEqual(Array.from({ length: 6 }, () => backoff.lost()), [500, 1000, 2000, 4000, 8000, null]);
  assert.equal(backoff.attempt, 5);
});

test("delays are spread by 20 %, so that a restart brings nobody back at once", () => {
  assert.equal(new Backoff({ random: () => 0 }).lost(), 400);
  assert.equal(new Backoff({ random: () => 1 }).lost(), 600);
});

test("only half a minute of health starts the count anew", () => {
  let now = 0;
  const backoff = new Backoff({ now: () => now, random: () => 0.5 });
  backoff.lost();
  backoff.connected();
  now += 29999;
  assert.equal(backoff.lost(), 1000);
  backoff.connected();
  now += 30000;
  assert.equal(backoff.lost(), 500);
});

test("a deadline counts down by its own clock and stops at zero", () => {
  const deadline = new Deadline(60, 120, 5000);
  assert.equal(deadline.secondsLeft(5000), 60);
  assert.equal(deadline.share(35000), 0.25);
  assert.equal(deadline.secondsLeft(999999), 0);
});

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

function heartbeat() {
  const intervals = handIntervals();
  let now = 0;
  const told = [];
  const asked = [];
  const beat = new Heartbeat({
    send: (t) => asked.push(t),
    onSlow: (on) => told.push(on ? "slow" : "well"),
    onDead: () => told.push("dead"),
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
  const { beat, told, asked, pass, done } = heartbeat();
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
  const { beat, told, asked, pass, done } = heartbeat();
  pass(3000);
  assert.deepEqual(told, ["slow"]);
  beat.answered(asked.at(-1));
  assert.deepEqual(told, ["slow", "well"]);
  done();
});

test("no answer for 8 s is a dead connection, told once", () => {
  const { told, pass, done } = heartbeat();
  pass(20000);
  assert.deepEqual(told, ["slow", "well", "dead"]);
  done();
});
