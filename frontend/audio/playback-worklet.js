/** The loudspeaker on the audio thread: plays the queue, and says what was heard. */

import { PlaybackQueue } from "./playback-queue.js";
import { WIRE_RATE } from "./pcm.js";
import { Resampler } from "./resampler.js";

const REPORT_SECONDS = 0.05;
const WIRE_BLOCK = 64;
const LONGEST_BLOCK = 1024; // as in the capture worklet

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this.queue = new PlaybackQueue((type, details) => this.post({ type, ...details }));
    this.port.onmessage = ({ data }) => this.receive(data);
    this.reportAt = 0;
    this.energy = 0;
    this.measured = 0;
    this.stopped = false;
    if (sampleRate !== WIRE_RATE) this.prepareToResample();
  }

  receive(message) {
    if (message.type === "push") this.queue.push(message.item, message.samples);
    else if (message.type === "end") this.queue.end(message.item);
    else if (message.type === "flush") this.post({ type: "flushed", ...this.queue.flush() });
    else if (message.type === "stop") this.stopped = true;
  }

  process(_, [channels]) {
    if (this.stopped) return false;
    const block = channels[0];
    if (this.resampler) this.readResampled(block);
    else this.queue.read(block);
    for (let i = 1; i < channels.length; i++) channels[i].set(block);
    for (let i = 0; i < block.length; i++) this.energy += block[i] * block[i];
    this.measured += block.length;
    if (this.queue.item !== null && currentTime >= this.reportAt) this.report();
    return true;
  }

  report() {
    const level = Math.sqrt(this.energy / this.measured);
    this.post({ type: "position", item: this.queue.item, played: this.queue.itemPlayed, level });
    this.reportAt = currentTime + REPORT_SECONDS;
    this.energy = this.measured = 0;
  }

  post(message) {
    const { totalPlayed, underruns, overflowed } = this.queue;
    this.port.postMessage({ ...message, time: currentTime, totalPlayed, underruns, overflowed });
  }

  // Only for a device on which the browser would not make a 24 kHz context.
  prepareToResample() {
    this.resampler = new Resampler(WIRE_RATE, sampleRate, WIRE_BLOCK);
    this.wireBlock = new Float32Array(WIRE_BLOCK);
    this.ready = new Float32Array(LONGEST_BLOCK + this.resampler.longestOutput);
    this.readyCount = 0;
  }

  readResampled(block) {
    while (this.readyCount < block.length) {
      this.queue.read(this.wireBlock);
      this.readyCount += this.resampler.process(this.wireBlock, this.ready, this.readyCount);
    }
    block.set(this.ready.subarray(0, block.length));
    this.ready.copyWithin(0, block.length, this.readyCount);
    this.readyCount -= block.length;
  }
}

registerProcessor("playback", Playback);
