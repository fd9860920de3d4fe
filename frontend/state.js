/** Where the conversation stands: one value (`airlock.d.ts` explains it), changed only by `next`. Pure. */

const QUIET = {
	hearing: false,
	thinking: false,
	sounding: false,
	interrupted: false,
	paused: false,
	slow: false,
	manual: false,
	holding: false,
};

export const IDLE = {
	...QUIET,
	phase: "idle",
	mode: "voice",
	muted: false,
	attempt: 0,
	problem: null,
	details: {},
};

export const isAtRest = ({ phase }) => ["idle", "ended", "failed"].includes(phase);
export const isQuiet = ({ phase, hearing, thinking, sounding }) => phase === "live" && !(hearing || thinking || sounding);

/** What is different after an event; false where it does not fit. */
const CHANGES = {
	start: (state, { mode }) => isAtRest(state) && { ...IDLE, mode, phase: mode === "voice" ? "asking" : "connecting" },
	microphone: ({ phase }) => phase === "asking" && { phase: "connecting" },
	connected: ({ phase }) => /connecting$/.test(phase) && { ...QUIET, phase: "live" },
	dropped: ({ phase }, { attempt }) => /connecting$|live/.test(phase) && { ...QUIET, phase: "reconnecting", attempt },
	over: (state, { problem = null, details = {} }) =>
		!isAtRest(state) && { ...IDLE, mode: state.mode, phase: problem ? "failed" : "ended", problem, details },
	cancelled: ({ phase }) => ["asking", "connecting"].includes(phase) && IDLE,
	muted: ({ mode, phase }, { on }) => mode === "voice" && /^live|^reconn/.test(phase) && { muted: on },
};

/** The same within a live session. */
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

/** The same state where the event changes nothing. */
export function next(state, event) {
	const change = CHANGES[event.type] ?? (state.phase === "live" && FACTS[event.type]);
	const changes = (change && change(state, event)) || {};
	return Object.keys(changes).some((name) => state[name] !== changes[name]) ? { ...state, ...changes } : state;
}

export function screenOf({ phase, problem, mode, muted, ...live }) {
	if (phase !== "live") return problem ?? phase;
	if (live.paused) return "paused";
	if (live.interrupted) return "interrupted";
	if (live.sounding) return "speaking";
	if (live.hearing && !muted) return "hearing";
	if (live.thinking) return "thinking";
	if (muted) return "muted";
	if (live.manual) return "hold";
	if (live.slow) return "slow";
	return mode === "text" ? "ready" : "listening";
}
