/** What a failure means for the person, and when to try again. Pure. */

// Public codes, HTTP statuses (0: no answer), close codes and names of the browser's errors.
const MEANS = {
	unreachable: ["slow_consumer", 0, 1001, 1005, 1006, 1015],
	"provider-down": [1011, 1012, 1013],
	"signed-out": [401, 403],
	"pass-expired": [4401],
	quota: [402, 4402],
	budget: ["budget_exhausted"],
	busy: [429, 4429],
	policy: ["blocked", 1008, 4403],
	"long-silence": [4408],
	"time-up": [4410],
	denied: ["NotAllowedError"],
	"no-microphone": ["NotFoundError", "OverconstrainedError"],
	"busy-microphone": ["NotReadableError", "AbortError"],
	insecure: ["SecurityError"],
	"old-browser": ["TypeError"],
};
const DELAYS_MS = [500, 1000, 2000, 4000, 8000];
const HEALTHY_MS = 30000;

function problemOf(code) {
	if (code >= 500 && code < 600) return "provider-down";
	return Object.keys(MEANS).find((problem) => MEANS[problem].includes(code));
}

/** The screen to show, and whether to try again first with a new token. */
export class Refusal extends Error {
	/** A public code says more than the `code` beside it. */
	constructor(code, details = {}, publicCode) {
		super();
		this.problem = problemOf(publicCode) ?? problemOf(code) ?? "error";
		this.retry = ["unreachable", "provider-down"].includes(problemOf(code));
		this.details = details;
	}
}

/** The next attempt after those `made` and `livedMs` of a connection, and its delay ± 20 %; null if none is left. */
export function nextAttempt(made, livedMs, random = Math.random()) {
	// Else a long call would end for drops long past.
	const attempt = livedMs < HEALTHY_MS ? made : 0;
	const delay = DELAYS_MS[attempt] * (1 + 0.2 * (2 * random - 1));
	return delay ? { attempt: attempt + 1, delay } : null;
}
