import assert from "node:assert/strict";
import { test } from "node:test";

import {
  decodeBase64,
  decodeWithAtob,
  encodeBase64,
  encodeWithBtoa,
  float,
  loudness,
  pcm16,
} from "../../frontend/audio/pcm.js";

for (const [sample, expected] of [
  [0, 0],
  [1, 32767],
  [-1, -32768],
  [1.5, 32767],
  [-7, -32768],
  [Infinity, 32767],
  [-Infinity, -32768],
  [NaN, 0],
  [0.5, 16384],
  [-0.5, -16384],
  [1 / 32767, 1],
  [0.4 / 32767, 0],
  [0.6 / 32767, 1],
]) {
  test(`${sample} becomes ${expected}`, () => assert.equal(pcm16(sample) + 0, expected));
}

test("every PCM16 sample survives the way to float and back", () => {
  for (let sample = -32768; sample <= 32767; sample++) assert.equal(pcm16(float(sample)) + 0, sample);
});

test("loudness is the root mean square of full scale", () => {
  assert.equal(loudness(new Int16Array(0)), 0);
  assert.equal(loudness(new Int16Array(100)), 0);
  assert.equal(loudness(new Int16Array(100).fill(-32768)), 1);
  assert.ok(Math.abs(loudness(Int16Array.from({ length: 960 }, (_, i) => 32767 * Math.sin(i))) - Math.SQRT1_2) < 0.01);
});

for (const length of [0, 1, 2, 3, 1920, 8192, 8193, 200000]) {
  test(`both ways of base64 agree on ${length} bytes`, () => {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 31) % 256);
    const text = Buffer.from(bytes).toString("base64");
    for (const encode of [encodeBase64, encodeWithBtoa]) assert.equal(encode(bytes), text);
    for (const decode of [decodeBase64, decodeWithAtob]) assert.deepEqual(decode(text), bytes);
  });
}
