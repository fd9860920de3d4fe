/**
 * Where the conversation stands: one value, changed only by `next`. Pure.
 *
 * Only the phase is a choice among several; what happens in a live session (someone speaks, an answer is being made, it
 * sounds) are facts that can hold together. `screenOf` says which of them the person is shown.
 */

const QUIET = Object.freeze({
  hearing: false,
  thinking: false,
  sounding: false,
  interrupted: false,
  paused: false,
  slow: false,
  manual: false, // hold to talk: nothing is sent but while the button is held
  holding: false,
});

export const IDLE = Object.freeze({
  ...QUIET,
  phase: "idle", // idle, asking, connecting, live, reconnecting, ended, failed
  mode: "voice", // or "text": no microphone
  muted: false,
  attempt: 0, // of a reconnection, from 1
  problem: null, // a row of the copy table, when failed
  details: Object.freeze({}), // what that row tells
});

export const isAtRest = ({ phase }) => ["idle", "ended", "failed"].includes(phase);

/** Nobody speaks, and no answer is on its way. */
export const isQuiet = ({ phase, hearing, thinking, sounding }) => phase === "live" && !(hearing || thinking || sounding);

/** What moves from phase to phase; false where it does not fit. */
const MOVES = {
  start: (state, { mode }) => isAtRest(state) && { ...IDLE, mode, phase: mode === "voice" ? "asking" : "connecting" },
  microphone: ({ phase }) => phase === "asking" && { phase: "connecting" },
  connected: ({ phase }) => /connecting$/.test(phase) && { ...QUIET, phase: "live" },
  dropped: ({ phase }, { attempt }) => /connecting$|live/.test(phase) && { ...QUIET, phase: "reconnecting", attempt },
  over: (state, { problem = null, details = {} }) =>
    !isAtRest(state) && { ...IDLE, mode: state.mode, phase: problem ? "failed" : "ended", problem, details },
  cancelled: ({ phase }) => ["asking", "connecting"].includes(phase) && IDLE,
  muted: ({ mode, phase }, { on }) => mode === "voice" && /^live|^reconn/.test(phase) && { muted: on },
};

/** What changes within a live session. */
const FACTS = {
  "speech-started": ({ sounding }, { interrupts }) => ({ hearing: true, thinking: false, interrupted: sounding && interrupts }),
  "speech-stopped": () => ({ hearing: false, interrupted: false, thinking: true }),
  manual: ({ holding }, { on }) => ({ manual: on, holding: on && holding }),
  holding: ({ manual }, { on }) => manual && { holding: on, hearing: on, interrupted: false },
  settled: () => ({ interrupted: false }),
  answering: () => ({ thinking: true }),
  answered: () => ({ thinking: false }),
  "sound-started": () => ({ sounding: true, thinking: false }),
  "sound-stopped": () => ({ sounding: false }),
  paused: (_, { on }) => ({ paused: on }),
  slow: (_, { on }) => ({ slow: on }),
};

/** The state after an event: the same where the event changes nothing or does not fit. */
export function next(state, event) {
  const changes = MOVES[event.type]?.(state, event) || (state.phase === "live" && FACTS[event.type]?.(state, event));
  return Object.entries(changes || {}).some(([name, value]) => state[name] !== value) ? { ...state, ...changes } : state;
}

/** The row of the copy table to show. */
export function screenOf(state) {
  if (state.phase !== "live") return state.problem ?? state.phase;
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
