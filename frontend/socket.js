/** The connection to the relay: events as JSON, audio as base64 within them. */

import { encodeBase64 } from "./audio/base64.js";

// The token travels as a subprotocol: browsers cannot set headers, and addresses end up in logs.
const TOKEN_PREFIX = "openai-insecure-api-key.";

// Stale speech is worse than a gap, so above this nothing is queued.
const MOST_BUFFERED_BYTES = 256 * 1024;

export class RelaySocket {
  /** `onEvent(event)` for every event; `onClose(code, lastError)` once, however the connection ends. */
  constructor(url, token, { onEvent, onClose }) {
    this.droppedFrames = 0;
    this.lastError = null;
    this.socket = new WebSocket(url, ["realtime", TOKEN_PREFIX + token, "airlock.v1"]);
    this.socket.onmessage = ({ data }) => {
      const event = parse(data);
      if (event?.type === "error") this.lastError = event.error ?? {};
      if (event) onEvent(event);
    };
    this.socket.onclose = ({ code }) => {
      onClose(code, this.lastError);
    };
  }

  send(event) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(event));
  }

  /** Sends PCM16 samples; false if the connection cannot take them now. */
  sendAudio(samples) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    if (this.socket.bufferedAmount > MOST_BUFFERED_BYTES) {
      this.droppedFrames += 1;
      return false;
    }
    const audio = encodeBase64(new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength));
    this.socket.send(JSON.stringify({ type: "input_audio_buffer.append", audio }));
    return true;
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
