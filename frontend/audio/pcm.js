/** Sample arithmetic. The wire carries 24 kHz mono PCM16, little-endian, as every browser platform is. */

export const WIRE_RATE = 24000;
export const WIRE_SAMPLES_PER_MS = WIRE_RATE / 1000;

/** One float sample in [-1, 1] → PCM16. Louder samples clip; a broken one (NaN) is silence. */
export function pcm16(sample) {
  const clipped = sample > 1 ? 1 : sample < -1 ? -1 : sample || 0;
  return Math.round(clipped < 0 ? clipped * 32768 : clipped * 32767);
}

/** One PCM16 sample → float in [-1, 1]. */
export function float(sample) {
  return sample < 0 ? sample / 32768 : sample / 32767;
}

/** Root mean square of PCM16 samples, 0 to 1. */
export function loudness(samples) {
  let sum = 0;
  for (let i = 0; i < samples.length; i++) sum += samples[i] * samples[i];
  return samples.length ? Math.sqrt(sum / samples.length) / 32768 : 0;
}
