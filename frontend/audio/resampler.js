/**
 * Changes the sample rate of a stream: a windowed sinc of 32 taps, looked up in 256 phases with a straight line between
 * neighbouring phases, so that any ratio works (44.1 → 24 kHz is 147:80). Linear interpolation of the samples themselves
 * would fold everything above 12 kHz back into the speech.
 */

const TAPS = 32;
const PHASES = 256;
const CUT_OFF = 0.46; // of the lower rate

export class Resampler {
  /** `longestBlock`: the most samples one call of `process` will be given. */
  constructor(fromRate, toRate, longestBlock) {
    this.step = fromRate / toRate;
    this.phases = filter(CUT_OFF * Math.min(1, toRate / fromRate));
    // The last samples of one block are needed to filter the next.
    this.samples = new Float32Array(TAPS + longestBlock);
    this.kept = TAPS - 1;
    this.position = 0;
    /** The most samples one call of `process` will write. */
    this.longestOutput = Math.ceil(longestBlock / this.step) + 1;
  }

  /** Resamples `block` into `output` from index `at`, and returns how many samples it wrote. Allocates nothing. */
  process(block, output, at = 0) {
    const { samples, phases, step } = this;
    samples.set(block, this.kept);
    const filled = this.kept + block.length;
    let written = 0;
    for (; this.position + TAPS <= filled; this.position += step) {
      const first = Math.floor(this.position);
      const phase = (this.position - first) * PHASES;
      const row = Math.floor(phase);
      const between = phase - row;
      const taps = row * TAPS;
      let sum = 0;
      for (let tap = 0; tap < TAPS; tap++) {
        const here = phases[taps + tap];
        sum += samples[first + tap] * (here + between * (phases[taps + TAPS + tap] - here));
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

/** One row of taps per phase, and one more row to interpolate towards. `cutOff` is in cycles per input sample. */
function filter(cutOff) {
  const phases = new Float32Array((PHASES + 1) * TAPS);
  for (let row = 0; row <= PHASES; row++) {
    const taps = phases.subarray(row * TAPS, (row + 1) * TAPS);
    let sum = 0;
    for (let tap = 0; tap < TAPS; tap++) {
      const distance = tap - (TAPS / 2 - 1) - row / PHASES;
      taps[tap] = sinc(2 * cutOff * distance) * blackman(distance / (TAPS / 2));
      sum += taps[tap];
    }
    // Without this the gain would ripple with the phase.
    for (let tap = 0; tap < TAPS; tap++) taps[tap] /= sum;
  }
  return phases;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function blackman(x) {
  return Math.abs(x) > 1 ? 0 : 0.42 + 0.5 * Math.cos(Math.PI * x) + 0.08 * Math.cos(2 * Math.PI * x);
}
