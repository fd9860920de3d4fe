import { Refusal } from "../endings.js";

const WORKLET = new URL("./capture-worklet.js", import.meta.url);

/** The microphone. `onFrame({samples, level, time})` gets 40 ms that ended at `time` of the context. */
export function createCapture(processing, onFrame, onLost) {
	// At the device's own rate: Firefox refuses a microphone in a context of another one.
	const context = new AudioContext();
	const cleaning = { echoCancellation: processing, noiseSuppression: processing, autoGainControl: processing };
	let tracks = [];
	let source;
	let node;
	let closed = false;

	async function ask(deviceId, usedDefault = false) {
		try {
			const audio = { channelCount: 1, ...cleaning, ...(deviceId && { deviceId: { exact: deviceId } }) };
			const stream = await navigator.mediaDevices.getUserMedia({ audio });
			release();
			tracks = stream.getTracks();
			if (closed) release(); // the person gave up waiting, then allowed it
			return { stream, usedDefault };
		} catch ({ name }) {
			if (deviceId && ["OverconstrainedError", "NotFoundError"].includes(name)) return ask(null, true);
			// Granted to the page and yet refused: the system says no.
			throw new Refusal(name, { allowedHere: name === "NotAllowedError" && (await isGranted()) });
		}
	}

	function release() {
		for (const track of tracks) {
			track.onended = null;
			track.stop();
		}
		source?.disconnect();
		node?.port.postMessage("stop");
	}

	return {
		context,

		/** Never settles while the person ignores the browser's question. */
		async open(deviceId) {
			const [{ stream, usedDefault }] = await Promise.all([ask(deviceId), context.audioWorklet.addModule(WORKLET)]);
			tracks[0].onended = onLost;
			source = context.createMediaStreamSource(stream);
			// Without an output, so that the microphone can never reach the loudspeaker.
			node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
			node.port.onmessage = ({ data }) => onFrame(data);
			source.connect(node);
			return { ...tracks[0].getSettings(), usedDefault };
		},

		mute(on) {
			for (const track of tracks) track.enabled = !on;
		},

		close() {
			closed = true;
			release();
			context.close();
		},
	};
}

async function isGranted() {
	const asked = await navigator.permissions?.query({ name: "microphone" }).catch(() => null); // not every browser knows it
	return asked?.state === "granted";
}

export async function listMicrophones() {
	const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
	return devices.filter((device) => device.kind === "audioinput" && device.label);
}
