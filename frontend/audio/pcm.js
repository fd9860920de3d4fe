/** The wire carries 24 kHz mono PCM16, little-endian as every browser platform is, in base64. */

export const WIRE_RATE = 24000;
export const MILLISECOND = WIRE_RATE / 1000; // in samples

/** A float sample in [-1, 1]; a louder one clips, a broken one (NaN) is silence. */
export function pcm16(sample) {
	const clipped = Math.max(-1, Math.min(1, sample || 0));
	return Math.round(clipped * (clipped < 0 ? 32768 : 32767));
}

export const float = (sample) => sample / (sample < 0 ? 32768 : 32767);

/** Root mean square of PCM16 samples, 0 to 1. */
export function loudness(samples) {
	let sum = 0;
	for (let i = 0; i < samples.length; i++) sum += samples[i] * samples[i];
	return samples.length ? Math.sqrt(sum / samples.length) / 32768 : 0;
}

// The built-in methods are ten times faster; not every browser has them.
export const encodeBase64 = Uint8Array.prototype.toBase64 ? (bytes) => bytes.toBase64() : encodeWithBtoa;
export const decodeBase64 = Uint8Array.fromBase64 ?? decodeWithAtob;

export function encodeWithBtoa(bytes) {
	let binary = "";
	for (let i = 0; i < bytes.length; i++) binary += String.fromCharCode(bytes[i]);
	return btoa(binary);
}

export function decodeWithAtob(text) {
	const binary = atob(text);
	const bytes = new Uint8Array(binary.length);
	// A plain loop: Uint8Array.from with a callback takes five times as long.
	for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
	return bytes;
}
