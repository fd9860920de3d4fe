/** What a failure of the connection, a token request or the microphone means for the person, and when to try again. Pure. */

// By public code, HTTP status (0: no answer), close code, or name of the browser's error.
const PROBLEMS = {
  budget_exhausted: "budget",
  slow_consumer: "unreachable",
  blocked: "policy",

  0: "unreachable",
  401: "signed-out",
  402: "quota",
  403: "signed-out",
  429: "busy",

  1001: "unreachable",
  1005: "unreachable",
  1006: "unreachable",
  1008: "policy",
  1011: "provider-down",
  1012: "provider-down",
  1013: "provider-down",
  1015: "unreachable",
  4401: "pass-expired",
  4402: "quota",
  4403: "policy",
  4408: "long-silence",
  4410: "time-up",
  4429: "busy",

  NotAllowedError: "denied",
  NotFoundError: "no-microphone",
  OverconstrainedError: "no-microphone",
  NotReadableError: "busy-microphone",
  AbortError: "busy-microphone",
  SecurityError: "insecure",
  TypeError: "old-browser",
};
const RETRIED = [0, 1001, 1005, 1006, 1011, 1012, 1013, 1015];
const DELAYS_MS = [500, 1000, 2000, 4000, 8000];
const HEALTHY_MS = 30000;

/** What kept a session from starting or going on: the screen to show, and whether to try again first with a new token. */
export class Refusal extends Error {
  /** `code` is one of the above; a public code, if there is one, says more. */
  constructor(code, details = {}, publicCode = "") {
    super();
    const failed = code >= 500 && code < 600; // the service itself
    this.problem = PROBLEMS[publicCode] ?? PROBLEMS[code] ?? (failed ? "provider-down" : "error");
    this.retry = failed || RETRIED.includes(code);
    this.details = details;
  }
}

/**
 * `{attempt, delay}` of the next attempt (from 1; milliseconds ± 20 %) after those `made` and `livedMs` of a connection;
 * null if there is none left.
 */
export function nextAttempt(made, livedMs, random = Math.random()) {
  // Counting for the whole life of a call would end a long one for no reason.
  const attempt = livedMs < HEALTHY_MS ? made : 0;
  const delay = DELAYS_MS[attempt] * (1 + 0.2 * (2 * random - 1));
  return delay ? { attempt: attempt + 1, delay } : null;
}
