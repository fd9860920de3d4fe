/**
 * Where the conversation stands: one value, changed only by `next`. Pure.
 *
 * Only the phase is a choice among several; what happens in a live session (someone speaks, an answer is being made, it
 * sounds) are facts that can hold together. `screenOf` says which of them the person is shown.
 */

export const IDLE = Object.freeze({
  phase: "idle", // idle, asking, connecting, live, reconnecting, ended, failed
  mode: "voice", // or "text": no microphone
  hearing: false,
  thinking: false,
  sounding: false,
  interrupted: false,
  paused: false,
  muted: false,
  manual: false, // hold to talk: nothing is sent but while the button is held
  holding: false,
  slow: false,
  attempt: 0,
  problem: null, // a row of the copy table, when failed
  details: Object.freeze({}), // what that row tells
});

const AT_REST = new Set(["idle", "ended", "failed"]);
const SILENT = { hearing: false, thinking: false, sounding: false, interrupted: false, paused: false, slow: false };
const HANDS_FREE = { manual: false, holding: false };

export const isAtRest = ({ phase }) => AT_REST.has(phase);

/** Nobody speaks, and no answer is on its way. */
export const isQuiet = ({ phase, hearing, thinking, sounding }) => phase === "live" && !(hearing || thinking || sounding);

/** The state after an event. What does not fit the state changes nothing. */
export function next(state, event) {
  switch (event.type) {
    case "start":
      return AT_REST.has(state.phase)
        ? { ...IDLE, mode: event.mode, phase: event.mode === "voice" ? "asking" : "connecting" }
        : state;
    case "microphone":
      return state.phase === "asking" ? { ...state, phase: "connecting" } : state;
    case "connected":
      return state.phase === "connecting" || state.phase === "reconnecting"
        ? { ...state, ...SILENT, ...HANDS_FREE, phase: "live", attempt: 0 }
        : state;
    case "dropped":
      return AT_REST.has(state.phase) || state.phase === "asking"
        ? state
        : { ...state, ...SILENT, ...HANDS_FREE, phase: "reconnecting", attempt: event.attempt };
    case "ended":
      return AT_REST.has(state.phase)
        ? state
        : { ...IDLE, mode: state.mode, phase: "ended", details: event.details ?? {} };
    case "failed":
      return AT_REST.has(state.phase)
        ? state
        : { ...IDLE, mode: state.mode, phase: "failed", problem: event.problem, details: event.details ?? {} };
    case "cancelled":
      return state.phase === "asking" || state.phase === "connecting" ? IDLE : state;
    case "muted":
      return state.mode === "voice" && (state.phase === "live" || state.phase === "reconnecting")
        ? { ...state, muted: event.on }
        : state;
    default:
      return state.phase === "live" ? { ...state, ...factsAfter(state, event) } : state;
  }
}

function factsAfter(state, event) {
  switch (event.type) {
    case "speech-started":
      return { hearing: true, thinking: false, interrupted: state.sounding && event.interrupts };
    case "speech-stopped":
      return { hearing: false, interrupted: false, thinking: true };
    case "manual":
      return { manual: event.on, holding: event.on && state.holding };
    case "holding":
      return state.manual ? { holding: event.on, hearing: event.on, interrupted: false } : {};
    case "settled":
      return { interrupted: false };
    case "answering":
      return { thinking: true };
    case "answered":
      return { thinking: false };
    case "sound-started":
      return { sounding: true, thinking: false };
    case "sound-stopped":
      return { sounding: false };
    case "paused":
      return { paused: event.on };
    case "slow":
      return { slow: event.on };
    default:
      return {};
  }
}

/** The row of the copy table to show. */
export function screenOf(state) {
  if (state.phase === "failed") return state.problem;
  if (state.phase !== "live") return state.phase;
  if (state.paused) return "paused";
  if (state.interrupted) return "interrupted";
  if (state.sounding) return "speaking";
  if (state.hearing && !state.muted) return "hearing";
  if (state.thinking) return "thinking";
  if (state.muted) return "muted";
  if (state.manual) return "hold";
  if (state.slow) return "slow";
  return state.mode === "text" ? "ready" : "listening";
}
