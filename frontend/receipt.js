/** The lines of a receipt. The relay's says what it counted; without one the page says what it counted itself. Pure. */

import { WIRE_RATE } from "./audio/pcm.js";
import { clockText } from "./deadline.js";

export function linesOfReceipt(receipt) {
  const tokens = receipt.tokens?.total_tokens ?? receipt.tokens?.total;
  return [
    ["Session", receipt.session_id],
    ["Ended", String(receipt.ending ?? receipt.code ?? "").replaceAll("_", " ")],
    ["Lasted", clockText(receipt.duration_seconds ?? 0)],
    ["You spoke into it", `${(receipt.audio_in_seconds ?? 0).toFixed(1)} s of audio`],
    ["It answered with", `${(receipt.audio_out_seconds ?? 0).toFixed(1)} s of audio`],
    ...(Number.isFinite(tokens) ? [["Tokens used", String(tokens)]] : []),
    ["Kept by the relay", `${receipt.stored_bytes} bytes`],
  ].filter(([, value]) => value);
}

export function linesCountedHere({ seconds, sentSamples, receivedSamples }) {
  return [
    ["Counted by", "this page"],
    ["Lasted", clockText(seconds)],
    ["You spoke into it", `${(sentSamples / WIRE_RATE).toFixed(1)} s of audio`],
    ["It answered with", `${(receivedSamples / WIRE_RATE).toFixed(1)} s of audio`],
  ];
}
