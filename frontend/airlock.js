/**
 * A conversation through Airlock, for any page: microphone, session token, connection, reconnection, and one function that
 * undoes it all. Shows nothing; the page hears of everything by events. `airlock.d.ts` has the types, docs/library.md an
 * example. The token is handed to the connection and kept nowhere.
 */

import * as microphone from "./audio/capture.js";
import { WIRE_SAMPLES_PER_MS } from "./audio/pcm.js";
import { Playback, createPlaybackContext, loadPlayback } from "./audio/playback.js";
import { Backoff } from "./backoff.js";
import { Conversation } from "./conversation.js";
import { Deadline } from "./deadline.js";
import { judgeClose } from "./endings.js";
import { Heartbeat } from "./heartbeat.js";
import { RelaySocket } from "./socket.js";
import { IDLE, isAtRest, isQuiet, next, screenOf } from "./state.js";
import { Refusal, mint } from "./token.js";
import { Transcript } from "./transcript.js";

// After this much silence of a muted microphone no turn can be open any more.
const SILENCE_SENT_WHEN_MUTED = 1500 * WIRE_SAMPLES_PER_MS;
// The service refuses to take less than 100 ms for a turn.
const SHORTEST_TURN = 100 * WIRE_SAMPLES_PER_MS;
const GO_AHEAD_MILLISECONDS = 600;
const CLOSE_GRACE_MILLISECONDS = 2000;
const LONGEST_DELAY = 30000;
const CONNECT_MILLISECONDS = 20000;
const MOST_TYPED = 20;
const DAY = 24 * 3600000;
const MINT = new URL("/v1/realtime/client_secrets", import.meta.url);

export { listMicrophones } from "./audio/capture.js";

export class Airlock extends EventTarget {
  #options;
  #state = IDLE;
  #life = new AbortController(); // aborted when the session is over
  #contexts = [];
  #typed = []; // messages that wait for a connection
  #transcript = new Transcript((turn) => this.#tell("turn", turn));
  #stream;
  #stopCapture;
  #captureContext;
  #playback;
  #socket;
  #conversation;
  #heartbeat;
  #deadline;
  #backoff;
  #wakeLock;
  #settling;
  #overdue;
  #started;

  /** How much moved, for tests and the curious. Nothing that was said. */
  counters = {
    tokens: 0,
    sentSamples: 0,
    droppedFrames: 0,
    captureMilliseconds: null, // from a frame's last sample to its being sent
    roundTripMilliseconds: null,
    receivedSamples: 0,
    droppedDeltas: 0,
    playedSamples: 0,
    overflowedSamples: 0,
    underruns: 0,
    lastAnswer: null,
    lastInterruption: null,
    usedTokens: 0,
  };
  /** The relay's, once it ended a session. */
  receipt = null;

  /** Without a `mintUrl` the token comes from where this module came from. */
  constructor({ mintUrl = MINT, headers = {}, profile, processing = true } = {}) {
    super();
    this.#options = { mintUrl, headers, profile, processing };
  }

  /** What the person should be shown: "idle", "listening", "speaking", "denied"… */
  get state() {
    return screenOf(this.#state);
  }

  get facts() {
    return this.#state;
  }

  get transcript() {
    return this.#transcript.toText();
  }

  /** Seconds, and the share of the whole session that they are; null where there is no end. */
  get timeLeft() {
    const now = performance.now();
    return this.#deadline ? { seconds: this.#deadline.secondsLeft(now), share: this.#deadline.share(now) } : null;
  }

  /** Must be called in a click: browsers unlock sound only there. */
  async start({ text = false, microphoneId, voice } = {}) {
    if (!isAtRest(this.#state)) return;
    const { signal } = (this.#life = new AbortController());
    this.#backoff = new Backoff();
    this.#started = { at: null, voice, silence: 0, held: 0, draining: false, counted: { ...this.counters } };
    this.receipt = null;
    this.counters.lastAnswer = null;
    this.#listen(signal);
    this.#dispatch({ type: "start", mode: text ? "text" : "voice" });
    try {
      if (!text) await this.#prepareSound(microphoneId, signal);
      await this.#connect(signal);
    } catch (error) {
      if (!signal.aborted) this.#fail(error);
    }
  }

  end() {
    this.#finish({ type: "ended", details: this.#summary() });
  }

  cancel() {
    this.#finish({ type: "cancelled" });
  }

  /** Sends a typed message, at once or as soon as there is a connection. */
  say(text) {
    if (this.#state.phase === "live") this.#conversation.say(text);
    else if (this.#typed.length < MOST_TYPED) this.#typed.push(text);
  }

  /** Sends any event of the protocol; false while there is no session. */
  send(event) {
    return this.#state.phase === "live" && this.#socket.send(event);
  }

  stopSpeaking() {
    this.#conversation?.stopSpeaking();
  }

  mute(on) {
    for (const track of this.#stream?.getTracks() ?? []) track.enabled = !on;
    if (this.#started) this.#started.silence = 0;
    this.#dispatch({ type: "muted", on });
  }

  /** Down: a turn begins, and the assistant falls silent. Up: the turn is over and wants an answer. */
  hold(down) {
    const { phase, mode, muted, manual, holding } = this.#state;
    if (phase !== "live" || mode !== "voice" || down === holding) return;
    const tooShort = this.#started.held < SHORTEST_TURN;
    if (down) {
      if (muted) this.mute(false);
      if (!manual) this.#conversation.setManual(true);
      this.#conversation.stopSpeaking();
      this.#conversation.clear();
      this.#started.held = 0;
    } else if (tooShort) {
      this.#conversation.clear();
      this.#notice("Hold while you speak.");
    } else {
      this.#conversation.commit();
    }
    this.#dispatch({ type: "holding", on: down });
  }

  handsFree() {
    this.#conversation?.setManual(false);
  }

  /** Takes up sound again after the device took it; must be called in a click. */
  async resume() {
    await Promise.all(this.#contexts.map((context) => context.resume()));
  }

  /** Puts another microphone into the running session. */
  async changeMicrophone(deviceId) {
    const { signal } = this.#life;
    try {
      const { stream, usedDefault } = await this.#ask(deviceId, signal);
      if (signal.aborted) return;
      this.#stopCapture();
      microphone.stopTracks(this.#stream);
      this.#attach(stream, usedDefault);
    } catch (error) {
      if (!signal.aborted) this.#fail(error);
    }
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #notice(text) {
    this.#tell("notice", text);
  }

  #dispatch(event) {
    const before = this.#state;
    this.#state = next(before, event);
    if (this.#state === before) return;
    this.#tell("state", { screen: this.state, facts: this.#state, before });
    if (this.#started?.draining && isQuiet(this.#state)) this.#lost(1012);
  }

  /** What happens to the page while a session lives. */
  #listen(signal) {
    // An offline browser leaves the socket open, as if it were only quiet.
    addEventListener("offline", () => this.#socket && this.#lost(1006), { signal });
    addEventListener("pagehide", () => this.end(), { signal });
    const returned = () => {
      if (document.hidden || this.#state.phase !== "live") return;
      this.#checkSound();
      this.#keepAwake(signal);
      if (this.#heartbeat.timer) this.#heartbeat.ask();
    };
    document.addEventListener("visibilitychange", returned, { signal });
  }

  async #keepAwake(signal) {
    if (this.#state.mode === "text") return;
    try {
      const lock = await navigator.wakeLock.request("screen");
      if (signal.aborted) lock.release();
      else this.#wakeLock = lock;
    } catch {
      // A courtesy: not every browser has it, and a weak battery may refuse.
    }
  }

  /** Nobody who only types is asked for microphone or loudspeaker. */
  async #prepareSound(deviceId, signal) {
    if (!isSecureContext) throw new Refusal({ problem: "insecure" });
    if (!navigator.mediaDevices || !globalThis.AudioWorkletNode) throw new Refusal({ problem: "old-browser" });
    const playbackContext = this.#open(createPlaybackContext());
    this.#captureContext = this.#open(new AudioContext({ latencyHint: "interactive" }));
    const asked = this.#ask(deviceId, signal).then((answer) => {
      this.#stream = answer.stream; // from here on `finish` lets go of it, even if a worklet does not load
      return answer;
    });
    const [{ stream, usedDefault }] = await Promise.all([
      asked,
      microphone.loadCapture(this.#captureContext),
      loadPlayback(playbackContext),
    ]);
    signal.throwIfAborted();
    this.#playback = new Playback(playbackContext, (event) => this.#played(event));
    this.#attach(stream, usedDefault);
    this.#dispatch({ type: "microphone" });
  }

  #open(context) {
    this.#contexts.push(context);
    context.resume().catch(() => {});
    context.onstatechange = () => this.#checkSound();
    return context;
  }

  #checkSound() {
    this.#dispatch({ type: "paused", on: this.#contexts.some(({ state }) => state !== "running") });
  }

  async #ask(deviceId, signal) {
    try {
      const answer = await microphone.askForMicrophone(deviceId, this.#options.processing);
      // Allowed after the person gave up waiting, or while something else failed.
      if (signal.aborted) microphone.stopTracks(answer.stream);
      return answer;
    } catch (error) {
      const problem = microphone.microphoneProblem(error);
      // Granted to the page and yet refused: the system says no.
      throw new Refusal({ problem }, { allowedHere: problem === "denied" && (await microphone.isGranted()) });
    }
  }

  #attach(stream, usedDefault) {
    this.#stream = stream;
    this.#stopCapture = microphone.startCapture(this.#captureContext, stream, (frame) => this.#frame(frame));
    const [track] = stream.getAudioTracks();
    const { deviceId, echoCancellation } = track.getSettings();
    track.enabled = !this.#state.muted;
    track.onended = () => this.#finish({ type: "failed", problem: "lost-microphone", details: this.#summary() });
    if (usedDefault) this.#notice("The microphone you chose is not there. The default one is used.");
    else if (echoCancellation === false) this.#notice("Use headphones: this browser is not cancelling echo.");
    this.#tell("microphone", { deviceId });
  }

  #frame({ samples, level, time }) {
    const { phase, muted, hearing, manual, holding } = this.#state;
    if (phase !== "live") return;
    const idle = manual && !holding;
    this.#tell("level", { side: "you", level: muted || idle ? 0 : level });
    if (idle) return;
    // Server-side turn detection hears the end of a turn only in the silence after it, so silence is sent too.
    if (muted && !hearing && this.#started.silence >= SILENCE_SENT_WHEN_MUTED) return;
    if (muted) this.#started.silence += samples.length;
    if (this.#socket.sendAudio(samples)) {
      this.counters.sentSamples += samples.length;
      this.counters.captureMilliseconds = (this.#captureContext.currentTime - time) * 1000;
      this.#started.held += samples.length;
    }
    this.counters.droppedFrames = this.#started.counted.droppedFrames + this.#socket.droppedFrames;
  }

  #played(event) {
    // A new playback counts from zero.
    const { playedSamples, underruns, overflowedSamples } = this.#started.counted;
    this.counters.playedSamples = playedSamples + event.totalPlayed;
    this.counters.underruns = underruns + event.underruns;
    this.counters.overflowedSamples = overflowedSamples + event.overflowed;
    this.#conversation?.heard(event);
    if (event.type === "position") this.#tell("level", { side: "assistant", level: event.level });
  }

  async #connect(signal) {
    const pass = await this.#mint(signal);
    signal.throwIfAborted();
    this.counters.tokens += 1;
    this.#started.limit = pass.maxSessionSeconds;
    this.#started.draining = false;
    this.#tell("about", { provider: pass.provider, stores: pass.stores });
    const socket = new RelaySocket(pass.relayUrl, pass.token, {
      onEvent: (event) => this.#receive(event),
      onSent: (event) => this.#tell("event", { direction: "out", event }),
      onClose: (code, error) => this.#lost(code, error),
    });
    this.#socket = socket;
    this.#conversation = new Conversation({
      send: (event) => socket.send(event),
      playback: this.#playback,
      transcript: this.#transcript,
      dispatch: (event) => this.#dispatch(event),
      notice: (text) => this.#notice(text),
      counters: this.counters,
    });
    this.#overdue = setTimeout(() => this.#lost(1006), CONNECT_MILLISECONDS);
    this.#heartbeat = new Heartbeat({
      send: (t) => socket.send({ type: "airlock.ping", t }),
      onSlow: (on) => this.#dispatch({ type: "slow", on }),
      onDead: () => this.#lost(1006),
    });
  }

  async #mint(signal) {
    const { mintUrl: url, headers, profile } = this.#options;
    const { voice } = this.#started;
    const body = {
      ...(profile && { airlock: { profile } }),
      ...(voice && { session: { type: "realtime", audio: { output: { voice } } } }),
    };
    try {
      return await mint({ url, headers: typeof headers === "function" ? await headers() : headers, body, signal });
    } catch (error) {
      if (!voice || !error.details?.param?.startsWith("session")) throw error;
      this.#started.voice = null;
      this.#notice("The voice cannot be chosen here.");
      return this.#mint(signal);
    }
  }

  #receive(event) {
    if (event.type === "session.created") this.#connected();
    this.#tell("event", { direction: "in", event });
    this.#conversation?.receive(event);
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        clearTimeout(this.#settling);
        this.#settling = setTimeout(() => this.#dispatch({ type: "settled" }), GO_AHEAD_MILLISECONDS);
        return;
      case "airlock.session.started":
        this.#setDeadline(event.ends_at - event.server_time, event.max_session_seconds);
        this.#heartbeat.start(); // only a relay that speaks airlock.v1 would answer
        return this.#tell("about", { provider: event.provider, stores: event.stores });
      case "airlock.session.draining":
        this.#notice("The relay is restarting. This page takes a fresh pass at the next pause.");
        this.#started.draining = true;
        if (isQuiet(this.#state)) this.#lost(1012);
        return;
      case "airlock.session.ended":
        this.receipt = event.receipt; // for the end of the call, which this need not be
        return;
      case "airlock.pong":
        this.counters.roundTripMilliseconds = performance.now() - event.t;
        return this.#heartbeat.answered(event.t);
    }
  }

  #connected() {
    const again = this.#started.at !== null;
    this.#started.at ??= performance.now();
    this.receipt = null;
    clearTimeout(this.#overdue);
    if (this.#started.limit) this.#setDeadline(this.#started.limit, this.#started.limit);
    this.#backoff.connected();
    this.#dispatch({ type: "connected" });
    this.#checkSound();
    this.#keepAwake(this.#life.signal);
    if (again) this.#transcript.note("Reconnected. The assistant starts fresh; your transcript is still here.");
    for (const text of this.#typed.splice(0)) this.#conversation.say(text);
  }

  #setDeadline(secondsLeft, seconds) {
    this.#deadline = new Deadline(secondsLeft, seconds, performance.now());
    // The relay ends the session; this only keeps the page from waiting for one that does not.
    clearTimeout(this.#overdue);
    const end = () => this.#finish({ type: "failed", problem: "time-up", details: this.#summary() });
    this.#overdue = setTimeout(end, secondsLeft * 1000 + CLOSE_GRACE_MILLISECONDS);
  }

  #lost(code, error) {
    this.#disconnect();
    const { problem, retry } = judgeClose(code, error?.code);
    const details = { message: error?.message, retryAfter: error?.retry_after };
    if (problem === null) this.#finish({ type: "ended", details: { ...this.#summary(), ...details } });
    else this.#tryAgain(new Refusal({ problem, retry }, details));
  }

  /** Connects anew, with another token, or gives up: with what the refusal says. */
  async #tryAgain(refusal) {
    const { signal } = this.#life;
    const delay = refusal.retry ? this.#backoff.lost() : null;
    if (delay === null) return this.#fail(refusal);
    this.#dispatch({ type: "dropped", attempt: this.#backoff.attempt });
    try {
      await pause(Math.min(LONGEST_DELAY, Math.max(delay, 1000 * (refusal.details.retryAfter || 0))), signal);
      if (!navigator.onLine) await new Promise((resolve) => addEventListener("online", resolve, { once: true, signal }));
      await this.#connect(signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refusal) this.#tryAgain(error);
      else this.#fail(error);
    }
  }

  /** Undoes `connect`. The microphone stays, so that a reconnection asks for nothing. */
  #disconnect() {
    this.#heartbeat?.stop();
    clearTimeout(this.#settling);
    clearTimeout(this.#overdue);
    this.#socket?.close();
    this.#playback?.flush();
    this.#transcript.close();
    this.#deadline = this.#socket = this.#heartbeat = this.#conversation = null;
  }

  #fail(error) {
    const { problem, details } = error instanceof Refusal ? error : { problem: "error", details: {} };
    this.#finish({ type: "failed", problem, details: { ...this.#summary(), ...details } });
  }

  /** The one way out: undoes everything, in whatever state it is, and says why. */
  #finish(event) {
    this.#life.abort();
    this.#disconnect();
    this.#typed = [];
    this.#stopCapture?.();
    microphone.stopTracks(this.#stream);
    this.#playback?.stop();
    this.#wakeLock?.release();
    for (const context of this.#contexts) {
      context.onstatechange = null;
      context.close().catch(() => {});
    }
    this.#contexts = [];
    this.#stream = this.#stopCapture = this.#playback = this.#captureContext = this.#wakeLock = null;
    this.#dispatch(event);
  }

  #summary() {
    const seconds = this.#started?.at ? (performance.now() - this.#started.at) / 1000 : 0;
    // Allowances are counted by UTC day.
    const tomorrow = new Date(DAY * Math.ceil(Date.now() / DAY));
    return { seconds, turns: this.#transcript.count, limitSeconds: this.#started?.limit, tomorrow };
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}
