/** The connection to the relay: events as JSON, audio as base64 within them. */

import { encodeBase64 } from "./audio/base64.js";

// The token travels as a subprotocol: browsers cannot set headers, and addresses end up in logs.
const TOKEN_PREFIX = "openai-insecure-api-key.";

// Stale speech is worse than a gap, so above this nothing is queued.
const MOST_BUFFERED_BYTES = 256 * 1024;

export class RelaySocket {
  /** `onEvent(event)` for every event; `onSent(event)` for what went out; `onClose(code, lastError)` once. */
  constructor(url, token, { onEvent, onSent, onClose }) {
    this.droppedFrames = 0;
    this.onSent = onSent;
    this.socket = new WebSocket(url, ["realtime", TOKEN_PREFIX + token, "airlock.v1"]);
    let lastError = null;
    this.socket.onmessage = ({ data }) => {
      const event = parse(data);
      if (event?.type === "error") lastError = event.error ?? {};
      if (event) onEvent(event);
    };
    this.socket.onclose = ({ code }) => onClose(code, lastError);
  }

  /** False if the connection is not open. */
  send(event) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(event));
    this.onSent(event);
    return true;
  }

  /** Sends PCM16 samples; false if the connection cannot take them now. */
  sendAudio(samples) {
    if (this.socket.bufferedAmount > MOST_BUFFERED_BYTES) {
      this.droppedFrames += 1;
      return false;
    }
    const audio = encodeBase64(new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength));
    return this.send({ type: "input_audio_buffer.append", audio });
  }

  /** Closes without telling `onClose`: whoever closes knows why. */
  close() {
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close(1000);
  }
}

function parse(text) {
  try {
    const event = JSON.parse(text);
    return typeof event?.type === "string" ? event : null;
  } catch {
    return null;
  }
}
