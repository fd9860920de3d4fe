import { WIRE_RATE } from "./pcm.js";

const WORKLET = new URL("./playback-worklet.js", import.meta.url);
const USUAL_LATENCY = 0.03;

/** The loudspeaker. `onEvent(event)` is told `started`, `position` and `finished`, and when that is heard. */
export function createPlayback(onEvent) {
	const context = new AudioContext({ sampleRate: WIRE_RATE });
	// Firefox asks another process, and the page stands still while a device is being switched.
	const isFirefox = navigator.userAgent.includes("Firefox/");
	const flushes = [];
	let port;

	/** Seconds from the worklet to the ear. */
	const latency = () => (!isFirefox && context.outputLatency) || USUAL_LATENCY;

	return {
		context,
		latency,

		async open() {
			await context.audioWorklet.addModule(WORKLET);
			const node = new AudioWorkletNode(context, "playback", { numberOfInputs: 0, outputChannelCount: [1] });
			node.connect(context.destination);
			({ port } = node);
			port.onmessage = ({ data }) => {
				if (data.type === "flushed") return flushes.shift()(data);
				const audibleAt = performance.now() + (data.time - context.currentTime + latency()) * 1000;
				onEvent({ ...data, audibleAt });
			};
		},

		push(item, samples) {
			port.postMessage({ type: "push", item, samples }, [samples.buffer]);
		},

		end(item) {
			port.postMessage({ type: "end", item });
		},

		/** Falls silent; resolves to `{item, played}`: samples of the item being heard. */
		flush() {
			port.postMessage({ type: "flush" });
			return new Promise((resolve) => flushes.push(resolve));
		},

		close: () => context.close(),
	};
}
