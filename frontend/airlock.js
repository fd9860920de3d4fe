/** A conversation through Airlock, for any page: `airlock.d.ts` documents it. The token is kept nowhere. */

import { createCapture } from "./audio/capture.js";
import { createPlayback } from "./audio/playback.js";
import { connect } from "./connection.js";
import { converse } from "./conversation.js";
import { Refusal, nextAttempt } from "./endings.js";
import { IDLE, isAtRest, isQuiet, next, screenOf } from "./state.js";
import { mint } from "./token.js";
import { Transcript } from "./transcript.js";

const SILENCE_WHEN_MUTED_MS = 1500; // then no turn can be open any more
const CLOSE_GRACE_MS = 2000;
const LONGEST_DELAY_MS = 30000;
const CONNECT_MS = 20000;
const MOST_TYPED = 20;
const NOTHING = {
	tokens: 0, usedTokens: 0, sentSamples: 0, droppedFrames: 0, captureMilliseconds: null, roundTripMilliseconds: null,
	receivedSamples: 0, droppedDeltas: 0, playedSamples: 0, overflowedSamples: 0, underruns: 0, lastAnswer: null,
	lastInterruption: null,
};
const MINT = new URL("/v1/realtime/client_secrets", import.meta.url);

export { listMicrophones } from "./audio/capture.js";

export class Airlock extends EventTarget {
	#options;
	#state = IDLE;
	#life = new AbortController(); // aborted when the session is over
	#session = {}; // of one or more connections
	#transcript = new Transcript((turn) => this.#tell("turn", turn));
	#contexts = [];
	#capture;
	#playback;
	#connection;
	#conversation;
	#deadline;
	#overdue;

	counters = { ...NOTHING };
	receipt = null;

	constructor({ mintUrl = MINT, headers, profile, processing = true } = {}) {
		super();
		this.#options = { mintUrl, headers, profile, processing };
	}

	get state() {
		return screenOf(this.#state);
	}

	get facts() {
		return this.#state;
	}

	get transcript() {
		return this.#transcript.toText();
	}

	get timeLeft() {
		if (!this.#deadline) return null;
		const seconds = Math.max(0, this.#deadline - performance.now()) / 1000;
		return { seconds, share: seconds / this.#session.limitSeconds };
	}

	async start({ text, microphoneId, voice } = {}) {
		if (!isAtRest(this.#state)) return;
		const { signal } = (this.#life = new AbortController());
		this.#session = { voice, typed: [] };
		this.receipt = null;
		Object.assign(this.counters, NOTHING);
		// An offline browser leaves the socket open.
		addEventListener("offline", () => this.#connection && this.#lost(1006), { signal });
		addEventListener("pagehide", () => this.end(), { signal });
		document.addEventListener("visibilitychange", this.#returned, { signal });
		this.#dispatch("start", { mode: text ? "text" : "voice" });
		try {
			if (!text) await this.#prepareSound(microphoneId, signal);
			await this.#connect(signal);
		} catch (error) {
			this.#fail(error, signal);
		}
	}

	end() {
		this.#finish();
	}

	cancel() {
		this.#release();
		this.#dispatch("cancelled");
	}

	say(text) {
		const { typed } = this.#session;
		if (this.#state.phase === "live") this.#conversation.say(text);
		else if (typed?.length < MOST_TYPED) typed.push(text);
	}

	send(event) {
		return this.#state.phase === "live" && this.#connection.send(event);
	}

	stopSpeaking() {
		this.#conversation?.stopSpeaking();
	}

	mute(on) {
		this.#capture?.mute(on);
		this.#session.mutedAt = performance.now();
		this.#dispatch("muted", { on });
	}

	hold(down) {
		const { phase, mode, muted, manual, holding } = this.#state;
		if (phase !== "live" || mode !== "voice" || down === holding) return;
		if (down && muted) this.mute(false);
		this.#conversation.hold(down, manual);
	}

	handsFree() {
		this.#conversation?.setManual(false);
	}

	async resume() {
		await Promise.all(this.#contexts.map((context) => context.resume()));
	}

	async changeMicrophone(deviceId) {
		const { signal } = this.#life;
		await this.#useMicrophone(deviceId).catch((error) => this.#fail(error, signal));
	}

	#tell(type, detail) {
		this.dispatchEvent(new CustomEvent(type, { detail }));
	}

	#about = ({ provider, stores }) => this.#tell("about", { provider, stores });

	#notice = (text) => this.#tell("notice", text);

	#dispatch = (type, fields) => {
		const before = this.#state;
		this.#state = next(before, { type, ...fields });
		if (this.#state === before) return;
		this.#tell("state", { screen: this.state, facts: this.#state, before });
		this.#drain();
	};

	#returned = () => {
		if (document.hidden || this.#state.phase !== "live") return;
		this.#checkSound();
		this.#keepAwake();
		this.#connection.ping();
	};

	async #keepAwake() {
		if (!this.#capture) return;
		const { signal } = this.#life;
		const lock = await navigator.wakeLock?.request("screen").catch(() => null); // a weak battery may refuse
		const release = () => lock?.release();
		if (signal.aborted) release();
		else signal.addEventListener("abort", release);
	}

	async #prepareSound(deviceId, signal) {
		if (!isSecureContext) throw new Refusal("SecurityError");
		if (!globalThis.AudioWorkletNode) throw new Refusal("TypeError");
		this.#playback = createPlayback(this.#played);
		this.#capture = createCapture(this.#options.processing, this.#frame, () => this.#finish("lost-microphone"));
		this.#contexts = [this.#playback.context, this.#capture.context];
		for (const context of this.#contexts) context.onstatechange = this.#checkSound;
		this.resume().catch(() => {});
		await Promise.all([this.#useMicrophone(deviceId), this.#playback.open()]);
		signal.throwIfAborted();
		this.#dispatch("microphone");
	}

	#checkSound = () => this.#dispatch("paused", { on: this.#contexts.some(({ state }) => state !== "running") });

	async #useMicrophone(wanted) {
		const capture = this.#capture;
		const { deviceId, echoCancellation, usedDefault } = await capture.open(wanted);
		if (capture !== this.#capture) return; // it is over meanwhile
		capture.mute(this.#state.muted);
		if (usedDefault) this.#notice("The microphone you chose is not there. The default one is used.");
		else if (echoCancellation === false) this.#notice("Use headphones: this browser is not cancelling echo.");
		this.#tell("microphone", { deviceId });
	}

	#frame = ({ samples, level, time }) => {
		const { phase, muted, hearing, manual, holding } = this.#state;
		if (phase !== "live") return;
		const idle = manual && !holding;
		this.#tell("level", { side: "you", level: muted || idle ? 0 : level });
		// The model hears the end of a turn in the silence after it, so silence is sent too.
		const silent = muted && !hearing && performance.now() - this.#session.mutedAt > SILENCE_WHEN_MUTED_MS;
		if (idle || silent) return;
		const sent = this.#connection.sendAudio(samples);
		this.counters[sent ? "sentSamples" : "droppedFrames"] += sent ? samples.length : 1;
		this.counters.captureMilliseconds = (this.#capture.context.currentTime - time) * 1000;
	};

	#played = (event) => {
		Object.assign(this.counters, event.counters);
		this.#conversation?.heard(event);
		if (event.type === "position") this.#tell("level", { side: "assistant", level: event.level });
	};

	async #connect(signal) {
		const pass = await mint(this.#options, this.#session.voice, signal).catch((error) => {
			if (!this.#session.voice || !error.details?.param?.startsWith("session")) throw error;
			this.#notice("The voice cannot be chosen here.");
			return mint(this.#options, (this.#session.voice = null), signal);
		});
		signal.throwIfAborted();
		this.counters.tokens += 1;
		this.#session.draining = false;
		this.#about(pass);
		this.#connection = connect(pass.relay_url, pass.value, {
			onEvent: this.#receive,
			onSent: (event) => this.#tell("event", { direction: "out", event }),
			onSlow: (on) => this.#dispatch("slow", { on }),
			onClose: this.#lost,
		});
		this.#conversation = converse({
			send: this.#connection.send,
			playback: this.#playback,
			transcript: this.#transcript,
			dispatch: this.#dispatch,
			notice: this.#notice,
			counters: this.counters,
		});
		this.#overdue = setTimeout(this.#lost, CONNECT_MS, 1006);
	}

	#receive = (event) => {
		if (event.type === "session.created") this.#connected();
		this.#tell("event", { direction: "in", event });
		this.#conversation?.receive(event);
		switch (event.type) {
			case "airlock.session.started":
				this.#setDeadline(event);
				return this.#about(event);
			case "airlock.session.draining":
				this.#notice("The relay is restarting. This page takes a fresh pass at the next pause.");
				this.#session.draining = true;
				return this.#drain();
			case "airlock.session.ended":
				return (this.receipt = event.receipt);
			case "airlock.pong":
				this.counters.roundTripMilliseconds = performance.now() - event.t;
		}
	};

	#drain() {
		if (this.#session.draining && isQuiet(this.#state)) this.#lost(1012);
	}

	#connected() {
		const { startedAt, typed } = this.#session;
		this.#session.connectedAt = performance.now();
		this.#session.startedAt ??= performance.now();
		this.receipt = null;
		clearTimeout(this.#overdue);
		this.#dispatch("connected");
		this.#checkSound();
		this.#keepAwake();
		if (startedAt) this.#transcript.note("Reconnected. The assistant starts fresh; your transcript is still here.");
		for (const text of typed.splice(0)) this.#conversation.say(text);
	}

	/** By the relay's clock: the device's may be wrong. */
	#setDeadline({ ends_at, server_time, max_session_seconds: limit }) {
		const milliseconds = (ends_at - server_time) * 1000;
		this.#session.limitSeconds = limit;
		this.#deadline = performance.now() + milliseconds;
		// For a relay that does not end it.
		clearTimeout(this.#overdue);
		this.#overdue = setTimeout(() => this.#finish("time-up"), milliseconds + CLOSE_GRACE_MS);
	}

	#lost = (code, { message, retry_after: retryAfter, code: publicCode } = {}) => {
		this.#disconnect();
		if (code === 1000) this.#finish(null, { message });
		else this.#tryAgain(new Refusal(code, { message, retryAfter }, publicCode));
	};

	async #tryAgain(refusal) {
		const { signal } = this.#life;
		const livedMs = performance.now() - (this.#session.connectedAt ?? Infinity);
		const again = refusal.retry && nextAttempt(this.#state.attempt, livedMs);
		if (!again) return this.#fail(refusal, signal);
		this.#session.connectedAt = null;
		this.#dispatch("dropped", { attempt: again.attempt });
		try {
			const delay = Math.min(LONGEST_DELAY_MS, Math.max(again.delay, 1000 * (refusal.details.retryAfter || 0)));
			await new Promise((resolve) => setTimeout(resolve, delay));
			if (!navigator.onLine) await new Promise((resolve) => addEventListener("online", resolve, { once: true, signal }));
			await this.#connect(signal);
		} catch (error) {
			if (!signal.aborted) this.#tryAgain(error);
		}
	}

	#fail({ problem = "error", details }, signal) {
		if (!signal.aborted) this.#finish(problem, details);
	}

	#finish(problem, details) {
		this.#release();
		const { startedAt, limitSeconds } = this.#session;
		const seconds = startedAt ? (performance.now() - startedAt) / 1000 : 0;
		// Allowances are counted by UTC day.
		const tomorrow = new Date(new Date().setUTCHours(24, 0, 0, 0));
		const turns = this.#transcript.count;
		this.#dispatch("over", { problem, details: { seconds, turns, limitSeconds, tomorrow, ...details } });
	}

	/** The microphone stays, so that a reconnection asks for nothing. */
	#disconnect() {
		clearTimeout(this.#overdue);
		this.#connection?.close();
		this.#conversation?.leave();
		this.#deadline = this.#connection = this.#conversation = null;
	}

	/** Undoes everything, in any state. */
	#release() {
		this.#life.abort();
		this.#disconnect();
		this.#capture?.close();
		this.#playback?.close();
		this.#capture = this.#playback = null;
		this.#contexts = [];
	}
}
