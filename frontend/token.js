import { Refusal } from "./endings.js";

/** Asks for a session token: `{value, relay_url, provider, stores}`, or throws a `Refusal`. */
export async function mint({ mintUrl, headers, profile }, voice, signal) {
	const wanted = {
		...(profile && { airlock: { profile } }),
		...(voice && { session: { type: "realtime", audio: { output: { voice } } } }),
	};
	const own = typeof headers === "function" ? await headers() : headers;
	const response = await fetch(mintUrl, {
		method: "POST",
		headers: { ...own, "Content-Type": "application/json" },
		body: JSON.stringify(wanted),
		cache: "no-store",
		signal,
	}).catch(() => Response.error());
	const { ok, status } = response;
	const answer = await response.json().catch(() => null);
	if (ok && answer) return { value: answer.value, ...answer.airlock };
	const { code, message, param } = answer?.error ?? {};
	const reference = response.headers.get("X-Request-Id");
	const retryAfter = Number(response.headers.get("Retry-After")) || 0;
	throw new Refusal(ok ? 0 : status, { message, param, reference, retryAfter }, code);
}
