/**
 * Base64 of audio. The built-in methods are ten times faster; older browsers lack them, so each has a fallback.
 * The fallbacks are exported for their tests.
 */

export const encodeBase64 = Uint8Array.prototype.toBase64 ? (bytes) => bytes.toBase64() : encodeWithBtoa;
export const decodeBase64 = Uint8Array.fromBase64 ? (text) => Uint8Array.fromBase64(text) : decodeWithAtob;

// `apply` with too many arguments overflows the stack.
const MOST_ARGUMENTS = 8192;

export function encodeWithBtoa(bytes) {
  let binary = "";
  for (let at = 0; at < bytes.length; at += MOST_ARGUMENTS) {
    binary += String.fromCharCode.apply(null, bytes.subarray(at, at + MOST_ARGUMENTS));
  }
  return btoa(binary);
}

export function decodeWithAtob(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  // A plain loop: Uint8Array.from with a callback takes five times as long.
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
