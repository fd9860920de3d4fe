/** What the end of a connection, or a refused token request, means for the person. Pure. */

// The public code says more than the close code, so it is asked first.
const BY_ERROR_CODE = {
  budget_exhausted: "budget",
  slow_consumer: "unreachable",
};

const BY_CLOSE_CODE = {
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
};

const MAY_RETRY = new Set([1001, 1005, 1006, 1011, 1012, 1013, 1015]);

/**
 * Returns `{problem, retry}`: the screen to show, null for an ordinary end; and whether to try again first, with a new
 * token. `errorCode` is that of the last `error` event before the close.
 */
export function judgeClose(closeCode, errorCode) {
  if (closeCode === 1000) return { problem: null, retry: false };
  const problem = BY_ERROR_CODE[errorCode] ?? BY_CLOSE_CODE[closeCode] ?? "error";
  return { problem, retry: MAY_RETRY.has(closeCode) };
}

/** The same for the answer of the token service; `status` 0 means that there was none. */
export function judgeRefusal(status, errorCode) {
  if (status === 0) return { problem: "unreachable", retry: true };
  if (status === 429) return { problem: "busy", retry: false };
  if (status === 402) return { problem: "quota", retry: false };
  if (status === 403 && errorCode === "blocked") return { problem: "policy", retry: false };
  if (status === 401 || status === 403) return { problem: "signed-out", retry: false };
  if (status >= 500) return { problem: "provider-down", retry: true };
  return { problem: "error", retry: false };
}
