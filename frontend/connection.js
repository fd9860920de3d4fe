/** The connection to the relay, and whether it is slow or dead. */

import { encodeBase64 } from "./audio/pcm.js";

const MOST_BUFFERED_BYTES = 256 * 1024; // stale speech is worse than a gap
const EVERY_MS = 2000;
const SLOW_MS = 2000;
const DEAD_MS = 8000;

/** `onClose(code, lastError)` is told unless it is closed here. */
export function connect(url, token, { onEvent, onSent, onSlow, onClose }) {
	// The token is a subprotocol: browsers cannot set headers, and addresses end up in logs.
	const socket = new WebSocket(url, ["realtime", `openai-insecure-api-key.${token}`, "airlock.v1"]);
	const beat = heartbeat({ send: (t) => send({ type: "airlock.ping", t }), onSlow, onDead: () => onClose(1006) });
	let lastError;
	socket.onmessage = ({ data }) => {
		const event = JSON.parse(data);
		if (event.type === "error") lastError = event.error;
		if (event.type === "airlock.session.started") beat.start(); // only a relay that speaks airlock.v1 would answer
		if (event.type === "airlock.pong") beat.answered();
		onEvent(event);
	};
	socket.onclose = ({ code }) => onClose(code, lastError);

	function send(event) {
		if (socket.readyState !== WebSocket.OPEN) return false;
		socket.send(JSON.stringify(event));
		onSent(event);
		return true;
	}

	return {
		send,
		ping: beat.ask,

		sendAudio(samples) {
			const audio = encodeBase64(new Uint8Array(samples.buffer));
			return socket.bufferedAmount <= MOST_BUFFERED_BYTES && send({ type: "input_audio_buffer.append", audio });
		},

		close() {
			beat.stop();
			socket.onmessage = socket.onclose = null;
			socket.close(1000);
		},
	};
}

/** Asks for answers. `bufferedAmount` cannot tell: the first megabytes vanish into the system's buffers. */
export function heartbeat({ send, onSlow, onDead, now = () => performance.now() }) {
	let timer;
	let askedAt;
	let waiting = false;

	function ask() {
		if (waiting) return;
		waiting = true;
		send((askedAt = now()));
	}

	function beat() {
		const passed = now() - askedAt;
		onSlow(waiting && passed > SLOW_MS);
		if (waiting && passed > DEAD_MS) onDead();
		if (!waiting && passed >= EVERY_MS) ask();
	}

	return {
		ask,
		start() {
			timer = setInterval(beat, EVERY_MS / 4);
			ask();
		},
		answered() {
			waiting = false;
			beat();
		},
		stop: () => clearInterval(timer),
	};
}
