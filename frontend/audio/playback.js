/** The loudspeaker, as the main thread sees it. Touches no page element. */

import { WIRE_RATE } from "./pcm.js";

const WORKLET = new URL("./playback-worklet.js", import.meta.url);

/** `onEvent(event)` is told `started`, `position`, `finished`, `underrun`, and when that is heard. */
export function createPlayback(onEvent) {
  const context = new AudioContext({ sampleRate: WIRE_RATE, latencyHint: "interactive" });
  const flushes = [];
  let port;

  /** When what the worklet makes at `time` of the context is heard, on the clock of `performance.now`. */
  function audibleAt(time) {
    const { contextTime, performanceTime } = context.getOutputTimestamp();
    const byLatency = performance.now() + (time - context.currentTime + latency()) * 1000;
    // Firefox's timestamps leave the latency out, as do those of a context that has only just begun.
    return Math.max(byLatency, performanceTime + (time - contextTime) * 1000);
  }

  /** How long a sample takes from the worklet to the ear, in seconds. */
  const latency = () => context.outputLatency || context.baseLatency || 0;

  return {
    context,
    latency,

    async open() {
      await context.audioWorklet.addModule(WORKLET);
      const node = new AudioWorkletNode(context, "playback", { numberOfInputs: 0, outputChannelCount: [1] });
      node.connect(context.destination);
      ({ port } = node);
      port.onmessage = ({ data }) => {
        if (data.type === "flushed") flushes.shift()(data);
        else onEvent({ ...data, audibleAt: audibleAt(data.time) });
      };
    },

    push(item, samples) {
      port.postMessage({ type: "push", item, samples }, [samples.buffer]);
    },

    /** No more samples of the item come. */
    end(item) {
      port.postMessage({ type: "end", item });
    },

    /** Falls silent at once; resolves to `{item, played, dropped}`, the samples played of the item being heard. */
    flush() {
      port.postMessage({ type: "flush" });
      return new Promise((resolve) => flushes.push(resolve));
    },

    close() {
      port?.postMessage({ type: "stop" });
      context.close();
    },
  };
}
