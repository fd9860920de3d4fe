/** The loudspeaker on the audio thread: plays the queue, and says what was heard. */

import { PlaybackQueue } from "./playback-queue.js";
import { WIRE_RATE } from "./pcm.js";
import { Resampler } from "./resampler.js";

const REPORT_SECONDS = 0.05;
const WIRE_BLOCK = 64;

class Playback extends AudioWorkletProcessor {
	queue = new PlaybackQueue((type, item) => this.post({ type, item }));
	reportAt = 0;
	energy = 0;
	measured = 0;

	constructor() {
		super();
		this.port.onmessage = ({ data: { type, item, samples } }) => {
			const flushed = this.queue[type](item, samples);
			if (flushed) this.post({ type: "flushed", ...flushed });
		};
		if (sampleRate === WIRE_RATE) return;
		// Only where the browser would not make a 24 kHz context.
		this.resampler = new Resampler(WIRE_RATE, sampleRate, WIRE_BLOCK);
		this.wireBlock = new Float32Array(WIRE_BLOCK);
		this.ready = new Float32Array(1024 + this.resampler.longestOutput);
		this.readyCount = 0;
	}

	process(_, [[block]]) {
		if (this.resampler) this.readResampled(block);
		else this.queue.read(block);
		for (let i = 0; i < block.length; i++) this.energy += block[i] * block[i];
		this.measured += block.length;
		if (this.queue.item !== null && currentTime >= this.reportAt) {
			this.post({ type: "position", level: Math.sqrt(this.energy / this.measured) });
			this.reportAt = currentTime + REPORT_SECONDS;
			this.energy = this.measured = 0;
		}
		return true;
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

	post(message) {
		this.port.postMessage({ ...message, time: currentTime, counters: this.queue.counters });
	}
}

registerProcessor("playback", Playback);
