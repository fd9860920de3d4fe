import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { MILLISECOND } from "../../frontend/audio/pcm.js";
import { PlaybackQueue } from "../../frontend/audio/playback-queue.js";

const BLOCK = 128;
let events;
let queue;

beforeEach(() => {
  events = [];
  queue = new PlaybackQueue((type, item) => events.push([type, item, queue.itemPlayed]));
});

function samples(milliseconds, value = 16384) {
  return new Int16Array(milliseconds * MILLISECOND).fill(value);
}

function read(blocks) {
  const output = new Float32Array(blocks * BLOCK);
  for (let at = 0; at < output.length; at += BLOCK) queue.read(output.subarray(at, at + BLOCK));
  return output;
}

test("nothing waits: silence, and nothing is counted", () => {
  assert.ok(read(3).every((sample) => sample === 0));
  assert.deepEqual([queue.counters.playedSamples, queue.counters.underruns, events.length], [0, 0, 0]);
});

test("it starts when 60 ms wait, not before", () => {
  queue.push("a", samples(59));
  assert.ok(read(2).every((sample) => sample === 0));
  queue.push("a", samples(1));
  assert.ok(read(1)[0] > 0);
  assert.deepEqual(events, [["started", "a", 0]]);
});

test("a short item that is complete starts at once", () => {
  queue.push("a", samples(10));
  queue.end("a");
  assert.ok(read(1)[0] > 0);
});

test("every sample is played once, the last partial block too", () => {
  const speech = Int16Array.from({ length: 2000 }, (_, i) => i + 1);
  for (let at = 0; at < speech.length; at += 333) queue.push("a", speech.slice(at, at + 333));
  queue.end("a");
  const output = read(20);
  for (let i = 0; i < speech.length; i++) assert.equal(Math.round(output[i] * 32767), speech[i]);
  assert.deepEqual(events, [["started", "a", 0], ["finished", "a", 2000]]);
  assert.deepEqual([queue.counters.playedSamples, queue.counters.underruns], [2000, 0]);
});

test("after the last sample the level falls to zero without a step", () => {
  queue.push("a", samples(70, 32767));
  queue.end("a");
  const output = read(20);
  for (let i = 1; i < output.length; i++) assert.ok(Math.abs(output[i] - output[i - 1]) < 0.02);
  assert.equal(output.at(-1), 0);
});

test("two items follow without a gap and are counted apart", () => {
  queue.push("a", samples(10));
  queue.push("b", samples(20));
  queue.end("a");
  queue.end("b");
  const output = read(20);
  assert.ok(output.subarray(0, 30 * MILLISECOND).every((sample) => sample > 0));
  assert.deepEqual(events, [
    ["started", "a", 0],
    ["finished", "a", 240],
    ["started", "b", 0],
    ["finished", "b", 480],
  ]);
});

test("a flush in the middle of an item tells how much of it was played", () => {
  queue.push("a", samples(100));
  queue.push("b", samples(100));
  read(5);
  assert.deepEqual(queue.flush(), { item: "a", played: 5 * BLOCK });
  assert.equal(queue.waiting, 0);
  const after = read(2);
  assert.ok(after.subarray(5 * MILLISECOND).every((sample) => sample === 0));
  assert.equal(queue.counters.underruns, 0);
  assert.equal(queue.counters.playedSamples, 5 * BLOCK);
});

test("a flush names the item sounding, not the one written last", () => {
  queue.push("a", samples(10));
  queue.end("a");
  queue.push("b", samples(100));
  read(3);
  assert.deepEqual(queue.flush(), { item: "b", played: 3 * BLOCK - 240 });
});

test("a flush before the first sample has played nothing", () => {
  queue.push("a", samples(30));
  assert.deepEqual(queue.flush(), { item: "a", played: 0 });
  assert.deepEqual(queue.flush(), { item: null, played: 0 });
});

test("running dry in the middle of an item is an underrun, and the next start waits for more", () => {
  queue.push("a", samples(60));
  read(13);
  assert.equal(queue.counters.underruns, 1);
  queue.push("a", samples(90));
  assert.ok(read(1).every((sample) => sample === 0));
  queue.push("a", samples(10));
  assert.ok(read(1)[0] > 0);
  assert.equal(queue.item, "a");
  assert.equal(queue.flush().played, 1440 + BLOCK);
});

test("the wait grows to 240 ms and no further", () => {
  for (let i = 0; i < 10; i++) {
    queue.push("a", samples(240));
    read(46);
  }
  assert.equal(queue.counters.underruns, 10);
  assert.equal(queue.threshold, 240 * MILLISECOND);
});

test("an item whose end is learnt after its last sample was played is finished then", () => {
  queue.push("a", samples(60));
  read(12);
  queue.end("a");
  assert.deepEqual(events.at(-1), ["finished", "a", 1440]);
  assert.equal(queue.item, null);
});

test("an item that follows one never declared complete finishes it", () => {
  queue.push("a", samples(60));
  read(12);
  queue.push("b", samples(100));
  read(1);
  assert.deepEqual(events.slice(-2), [["finished", "a", 1440], ["started", "b", 0]]);
});

test("more than five minutes wait for nobody: what comes then is left out and counted", () => {
  const minute = samples(60000);
  for (let i = 0; i < 5; i++) queue.push("a", minute);
  queue.push("a", samples(1));
  assert.deepEqual([queue.waiting, queue.counters.overflowedSamples], [5 * minute.length, 24]);
  read(1);
  queue.push("a", samples(1));
  assert.equal(queue.counters.overflowedSamples, 24);
});
