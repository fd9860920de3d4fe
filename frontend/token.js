/** Asks the token service for a session token. */

import { Refusal } from "./endings.js";

/** Resolves to `{value, relay_url, max_session_seconds, provider, stores}`; rejects with a `Refusal`. */
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
    throw new Refusal(response && !response.ok ? response.status : 0);
  }
  if (response.ok) return { value: answer.value, ...answer.airlock };
  const { code, message, param } = answer?.error ?? {};
  const reference = response.headers.get("X-Request-Id");
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  throw new Refusal(response.status, { message, param, reference, retryAfter }, code);
}
