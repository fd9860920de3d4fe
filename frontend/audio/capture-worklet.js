/** The microphone on the audio thread: samples at the device's rate in, frames of 24 kHz PCM16 out. */

import { WIRE_RATE, WIRE_SAMPLES_PER_MS, loudness, pcm16 } from "./pcm.js";
import { Resampler } from "./resampler.js";

// 20 ms would double the messages; 100 ms can be felt.
const FRAME_SAMPLES = 40 * WIRE_SAMPLES_PER_MS;
const BLOCK = 128;
const LONGEST_BLOCK = 1024; // browsers may come to render more at once

class Capture extends AudioWorkletProcessor {
  constructor() {
    super();
    this.resampler = new Resampler(sampleRate, WIRE_RATE, LONGEST_BLOCK);
    this.resampled = new Float32Array(this.resampler.longestOutput);
    this.silence = new Float32Array(BLOCK);
    this.frame = new Int16Array(FRAME_SAMPLES);
    this.filled = 0;
    this.stopped = false;
    this.port.onmessage = () => (this.stopped = true);
  }

  process([[block]]) {
    if (this.stopped) return false;
    // Firefox gives nothing at all for a muted microphone, and silence is what ends a turn.
    const count = this.resampler.process(block ?? this.silence, this.resampled);
    for (let i = 0; i < count; i++) {
      this.frame[this.filled++] = pcm16(this.resampled[i]);
      if (this.filled === FRAME_SAMPLES) this.send();
    }
    return true;
  }

  send() {
    const samples = this.frame;
    this.port.postMessage({ samples, level: loudness(samples), time: currentTime }, [samples.buffer]);
    this.frame = new Int16Array(FRAME_SAMPLES);
    this.filled = 0;
  }
}

registerProcessor("capture", Capture);
