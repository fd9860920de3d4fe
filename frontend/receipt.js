/** The lines of a receipt. The relay's says what it counted; without one the page says what it counted itself. Pure. */

import { WIRE_RATE } from "./audio/pcm.js";
import { clockText } from "./deadline.js";

const seconds = (value) => `${(value ?? 0).toFixed(1)} s of audio`;

export function linesOfReceipt(receipt) {
  return [
    ["Session", receipt.session_id],
    ["Ended", String(receipt.ending ?? receipt.code ?? "").replaceAll("_", " ")],
    ["Lasted", clockText(receipt.duration_seconds ?? 0)],
    ["You spoke into it", seconds(receipt.audio_in_seconds)],
    ["It answered with", seconds(receipt.audio_out_seconds)],
    ["Tokens used", receipt.tokens?.total],
    ["Kept by the relay", `${receipt.stored_bytes} bytes`],
  ].filter(([, value]) => value !== undefined && value !== "");
}

/** `before` and `after` are the counters at the start and the end; `stores` is the relay's word of what it keeps. */
export function linesCountedHere(lasted, before, after, stores) {
  const counted = (name) => after[name] - before[name];
  return [
    ["Counted by", "this page"],
    ["Lasted", clockText(lasted)],
    ["You spoke into it", seconds(counted("sentSamples") / WIRE_RATE)],
    ["It answered with", seconds(counted("receivedSamples") / WIRE_RATE)],
    ["Tokens used", counted("usedTokens")],
    ["Kept by the relay", stores],
  ];
}
