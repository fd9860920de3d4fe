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
  /** `onEvent(event)` is told `started`, `position`, `finished`, `underrun`, and when that is heard. */
  constructor(context, onEvent) {
    this.context = context;
    this.flushes = [];
    this.node = new AudioWorkletNode(context, "playback", { numberOfInputs: 0, outputChannelCount: [1] });
    this.node.port.onmessage = ({ data }) => {
      if (data.type === "flushed") this.flushes.shift()?.(data);
      else onEvent({ ...data, audibleAt: this.audibleAt(data.time) });
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

  /** When what the worklet makes at `time` of the context is heard, on the clock of `performance.now`. */
  audibleAt(time) {
    const { contextTime, performanceTime } = this.context.getOutputTimestamp();
    const byLatency = performance.now() + (time - this.context.currentTime + this.latency) * 1000;
    // Firefox's timestamps leave the latency out, as do those of a context that has only just begun.
    return Math.max(byLatency, performanceTime + (time - contextTime) * 1000);
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
