/**
 * Changes the sample rate: a windowed sinc, looked up in phases with a straight line between neighbours, so that any
 * ratio works. A line between the samples themselves would fold all above 12 kHz back into the speech.
 */

const TAPS = 32;
const PHASES = 256;
const CUT_OFF = 0.46; // of the lower rate

export class Resampler {
	/** Browsers may come to render more than 128 samples at once. */
	constructor(fromRate, toRate, longestBlock = 1024) {
		this.step = fromRate / toRate;
		this.phases = filter(CUT_OFF * Math.min(1, toRate / fromRate));
		this.samples = new Float32Array(TAPS + longestBlock); // with the last of the block before
		this.kept = TAPS - 1;
		this.position = 0;
		this.longestOutput = Math.ceil(longestBlock / this.step) + 1;
	}

	/** From `block` into `output` at index `at`; returns how many samples it wrote. Allocates nothing. */
	process(block, output, at = 0) {
		const { samples, phases, step } = this;
		samples.set(block, this.kept);
		const filled = this.kept + block.length;
		let written = 0;
		for (; this.position + TAPS <= filled; this.position += step) {
			const first = Math.floor(this.position);
			const phase = (this.position - first) * PHASES;
			const row = Math.floor(phase);
			let sum = 0;
			for (let tap = 0, here = row * TAPS; tap < TAPS; tap++, here++) {
				sum += samples[first + tap] * (phases[here] + (phase - row) * (phases[here + TAPS] - phases[here]));
			}
			output[at + written++] = sum;
		}
		const used = Math.min(Math.floor(this.position), filled);
		samples.copyWithin(0, used, filled);
		this.kept = filled - used;
		this.position -= used;
		return written;
	}
}

/** A row of taps per phase, and one more to interpolate towards. */
function filter(cutOff) {
	const phases = new Float32Array((PHASES + 1) * TAPS);
	for (let row = 0; row <= PHASES; row++) {
		const taps = phases.subarray(row * TAPS, (row + 1) * TAPS);
		for (let tap = 0; tap < TAPS; tap++) {
			const x = Math.PI * (tap - (TAPS / 2 - 1) - row / PHASES);
			const sinc = x === 0 ? 2 * cutOff : Math.sin(2 * cutOff * x) / x;
			const blackman = 0.42 + 0.5 * Math.cos((2 * x) / TAPS) + 0.08 * Math.cos((4 * x) / TAPS);
			taps[tap] = sinc * blackman;
		}
		// To a sum of 1: otherwise the gain would ripple with the phase.
		const sum = taps.reduce((total, tap) => total + tap);
		taps.forEach((tap, i) => (taps[i] = tap / sum));
	}
	return phases;
}
