import assert from "node:assert/strict";
import { test } from "node:test";

import { Resampler } from "../../frontend/audio/resampler.js";

const BLOCK = 128;

function tone(frequency, rate, seconds = 0.5) {
  return Float32Array.from({ length: rate * seconds }, (_, i) => Math.sin((2 * Math.PI * frequency * i) / rate));
}

function resample(input, fromRate, toRate, block = BLOCK) {
  const resampler = new Resampler(fromRate, toRate, block);
  const output = new Float32Array(Math.ceil((input.length * toRate) / fromRate) + 64);
  let length = 0;
  for (let at = 0; at < input.length; at += block) {
    const written = resampler.process(input.subarray(at, at + block), output, length);
    assert.ok(written <= resampler.longestOutput);
    length += written;
  }
  return output.subarray(0, length);
}

/** Power of the whole output against the input's, in decibels, the filter's run-in left out. */
function gain(frequency, fromRate, toRate) {
  const power = (samples) => samples.reduce((sum, x) => sum + x * x, 0) / samples.length;
  const output = resample(tone(frequency, fromRate), fromRate, toRate);
  return 10 * Math.log10(power(output.subarray(100, -100)) / 0.5);
}

for (const rate of [44100, 48000]) {
  for (const frequency of [200, 1000, 3000, 5000, 7000]) {
    test(`${frequency} Hz at ${rate} Hz keeps its level`, () => {
      assert.ok(Math.abs(gain(frequency, rate, 24000)) < 1.6, `${gain(frequency, rate, 24000)} dB`);
    });
  }
  for (const frequency of [16000, 18000, 20000]) {
    test(`${frequency} Hz at ${rate} Hz does not fold back into speech`, () => {
      assert.ok(gain(frequency, rate, 24000) < -55, `${gain(frequency, rate, 24000)} dB`);
    });
  }
}

for (const frequency of [200, 1000, 3000, 5000]) {
  test(`${frequency} Hz of a Bluetooth microphone (16 kHz) keeps its level`, () => {
    assert.ok(Math.abs(gain(frequency, 16000, 24000)) < 1.6, `${gain(frequency, 16000, 24000)} dB`);
  });
}

for (const rate of [16000, 44100, 48000]) {
  test(`the number of samples follows the ratio from ${rate} Hz`, () => {
    const output = resample(tone(440, rate, 2), rate, 24000);
    assert.ok(Math.abs(output.length - 48000) < 64, `${output.length}`);
  });

  test(`the result at ${rate} Hz does not depend on the block size`, () => {
    const input = tone(1234, rate);
    const expected = resample(input, rate, 24000);
    for (const block of [1, 7, 100, 4096]) {
      const output = resample(input, rate, 24000, block);
      // The fractional position is rounded differently, no more; at the very end that may hold one sample back.
      assert.ok(Math.abs(output.length - expected.length) <= 1);
      expected.subarray(0, output.length).forEach((sample, i) => assert.ok(Math.abs(sample - output[i]) < 1e-5));
    }
  });
}

test("a constant stays constant at every phase", () => {
  const output = resample(new Float32Array(4410).fill(0.5), 44100, 24000);
  for (const sample of output.subarray(32)) assert.ok(Math.abs(sample - 0.5) < 1e-5);
});
