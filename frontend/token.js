/** Asks the token service for a session token. */

import { judgeRefusal } from "./endings.js";

/** A connection or a token that was not to be had, and what that means for the person. */
export class Refusal extends Error {
  constructor({ problem, retry = false }, details = {}) {
    super(problem);
    Object.assign(this, { problem, retry, details });
  }
}

/** Resolves to `{token, relayUrl, maxSessionSeconds, provider, stores}`; rejects with a `Refusal`. */
export async function mint({ url, headers, body, signal }) {
  let response;
  let answer;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { ...headers, "Content-Type": "application/json" },
      body: JSON.stringify(body),
      cache: "no-store",
      signal,
    });
    answer = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(judgeRefusal(response && !response.ok ? response.status : 0));
  }
  if (!response.ok) {
    const { code, message, param } = answer?.error ?? {};
    throw new Refusal(judgeRefusal(response.status, code), {
      message,
      param,
      reference: response.headers.get("X-Request-Id"),
      retryAfter: Number(response.headers.get("Retry-After")) || 0,
    });
  }
  const { relay_url, max_session_seconds, provider, stores } = answer.airlock;
  return { token: answer.value, relayUrl: relay_url, maxSessionSeconds: max_session_seconds, provider, stores };
}
