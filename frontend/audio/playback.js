/** The loudspeaker, as the main thread sees it. Touches no page element. */

import { WIRE_RATE } from "./pcm.js";

const WORKLET = new URL("./playback-worklet.js", import.meta.url);

/** Must be called in a click: Safari unlocks sound only there. */
export function createPlaybackContext() {
  return new AudioContext({ sampleRate: WIRE_RATE, latencyHint: "interactive" });
}

export function loadPlayback(context) {
  return context.audioWorklet.addModule(WORKLET);
}

export class Playback {
  /** `onEvent(event)` is told `started`, `position`, `finished`, `underrun`; the counters are up to date by then. */
  constructor(context, onEvent) {
    this.context = context;
    this.totalPlayed = 0;
    this.underruns = 0;
    this.flushes = [];
    this.node = new AudioWorkletNode(context, "playback", { numberOfInputs: 0, outputChannelCount: [1] });
    this.node.port.onmessage = ({ data }) => {
      this.totalPlayed = data.totalPlayed;
      this.underruns = data.underruns;
      if (data.type === "flushed") this.flushes.shift()?.(data);
      else onEvent(data);
    };
    this.node.connect(context.destination);
  }

  push(item, samples) {
    this.node.port.postMessage({ type: "push", item, samples }, [samples.buffer]);
  }

  end(item) {
    this.node.port.postMessage({ type: "end", item });
  }

  /** Falls silent at once; resolves to `{item, played, dropped}`, the samples played of the item being heard. */
  flush() {
    this.node.port.postMessage({ type: "flush" });
    return new Promise((resolve) => this.flushes.push(resolve));
  }

  /** How long a sample takes from the worklet to the ear, in seconds. */
  get latency() {
    return this.context.outputLatency || this.context.baseLatency || 0;
  }

  stop() {
    this.node.port.onmessage = null;
    this.node.port.postMessage({ type: "stop" });
    this.node.disconnect();
  }
}
