/** The microphone on the audio thread: samples at the device's rate in, frames of 24 kHz PCM16 out. */

import { MILLISECOND, WIRE_RATE, loudness, pcm16 } from "./pcm.js";
import { Resampler } from "./resampler.js";

const FRAME = 40 * MILLISECOND; // 20 ms would double the messages; 100 ms can be felt

class Capture extends AudioWorkletProcessor {
	resampler = new Resampler(sampleRate, WIRE_RATE);
	resampled = new Float32Array(this.resampler.longestOutput);
	silence = new Float32Array(128);
	frame = new Int16Array(FRAME);
	filled = 0;
	stopped = false;

	constructor() {
		super();
		this.port.onmessage = () => (this.stopped = true);
	}

	process([[block]]) {
		// Firefox gives nothing at all for a muted microphone.
		const count = this.resampler.process(block ?? this.silence, this.resampled);
		for (let i = 0; i < count; i++) {
			this.frame[this.filled++] = pcm16(this.resampled[i]);
			if (this.filled === FRAME) this.send(this.frame);
		}
		return !this.stopped;
	}

	send(samples) {
		this.port.postMessage({ samples, level: loudness(samples), time: currentTime }, [samples.buffer]);
		this.frame = new Int16Array(FRAME);
		this.filled = 0;
	}
}

registerProcessor("capture", Capture);
