/** Asks the token service for a session token. */

import { judgeRefusal } from "./endings.js";

const MINT = "/v1/realtime/client_secrets";

/** A connection or a token that was not to be had, and what that means for the person. */
export class Refusal extends Error {
  constructor({ problem, retry = false }, details = {}) {
    super(problem);
    this.problem = problem;
    this.retry = retry;
    this.details = details;
  }
}

/** Resolves to `{token, relayUrl, maxSessionSeconds, provider, stores}`; rejects with a `Refusal`. */
export async function mint(signal) {
  let response;
  let body;
  try {
    response = await fetch(MINT, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: "{}",
      cache: "no-store",
      signal,
    });
    body = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(judgeRefusal(response && !response.ok ? response.status : 0), {});
  }
  if (!response.ok) {
    throw new Refusal(judgeRefusal(response.status, body?.error?.code), {
      message: body?.error?.message,
      reference: response.headers.get("X-Request-Id"),
      retryAfter: Number(response.headers.get("Retry-After")) || 0,
    });
  }
  const { relay_url, max_session_seconds, provider, stores } = body.airlock;
  return { token: body.value, relayUrl: relay_url, maxSessionSeconds: max_session_seconds, provider, stores };
}
