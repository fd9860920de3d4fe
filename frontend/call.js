/**
 * A call from the click to the end: microphone, token, connection, reconnection, and one function that undoes it all.
 * Touches no page element; what happens is told to `dispatch` (events of `state.js`) and `tell` (everything else).
 */

import {
  askForMicrophone,
  cancelsEcho,
  loadCapture,
  microphoneProblem,
  startCapture,
  stopTracks,
} from "./audio/capture.js";
import { WIRE_SAMPLES_PER_MS } from "./audio/pcm.js";
import { Playback, createPlaybackContext, loadPlayback } from "./audio/playback.js";
import { Backoff } from "./backoff.js";
import { Conversation } from "./conversation.js";
import { Deadline } from "./deadline.js";
import { judgeClose } from "./endings.js";
import { Heartbeat } from "./heartbeat.js";
import { RelaySocket } from "./socket.js";
import { Refusal, mint } from "./token.js";

// After this much silence of a muted microphone no turn can be open any more.
const SILENCE_SENT_WHEN_MUTED = 1500 * WIRE_SAMPLES_PER_MS;
// The service refuses to take less than 100 ms for a turn.
const SHORTEST_TURN = 100 * WIRE_SAMPLES_PER_MS;
const GO_AHEAD_MILLISECONDS = 600;
const CLOSE_GRACE_MILLISECONDS = 2000;

export class Call {
  /** `tell` has: `pass(pass)`, `started(event)`, `level(side, level)`, `microphone(stream)`, `notice(text)`. */
  constructor({ getState, dispatch, tell, transcript }) {
    Object.assign(this, { getState, dispatch, tell, transcript });
    this.life = null; // aborted when the call is over
    this.contexts = [];
    this.stream = this.stopCapture = this.captureContext = this.playback = null;
    this.socket = this.conversation = this.heartbeat = this.deadline = null;
    this.counters = {
      tokens: 0,
      sentSamples: 0,
      droppedFrames: 0,
      receivedSamples: 0,
      droppedDeltas: 0,
      playedSamples: 0,
      underruns: 0,
      lastInterruption: null,
    };
    this.typed = [];
    this.receipt = null;
  }

  /** Must be called in a click: browsers unlock sound only there. */
  async start(mode, deviceId) {
    this.life = new AbortController();
    const { signal } = this.life;
    this.mode = mode;
    this.backoff = new Backoff();
    this.wasLive = false;
    this.receipt = null;
    this.startedAt = null;
    this.silenceSent = 0;
    this.heldSamples = 0;
    // A new playback counts from zero.
    this.playedBefore = this.counters.playedSamples;
    this.underrunsBefore = this.counters.underruns;
    this.dispatch({ type: "start", mode });
    try {
      if (mode === "voice") await this.prepareSound(deviceId, signal);
      signal.throwIfAborted();
      await this.connect(signal);
    } catch (error) {
      if (!signal.aborted) this.fail(error);
    }
  }

  end() {
    this.finish({ type: "ended", details: this.summary() });
  }

  cancel() {
    this.finish({ type: "cancelled" });
  }

  /** Sends a typed message, at once or as soon as there is a connection. */
  say(text) {
    if (this.getState().phase === "live") this.conversation.say(text);
    else this.typed.push(text);
  }

  stopSpeaking() {
    this.conversation?.stopSpeaking();
  }

  mute(on) {
    for (const track of this.stream?.getTracks() ?? []) track.enabled = !on;
    this.silenceSent = 0;
    this.dispatch({ type: "muted", on });
  }

  /** Down: a turn begins, and the assistant falls silent. Up: the turn is over and wants an answer. */
  hold(down) {
    const { phase, mode, muted, manual, holding } = this.getState();
    if (phase !== "live" || mode !== "voice" || down === holding) return;
    if (down) {
      if (muted) this.mute(false);
      if (!manual) this.conversation.setManual(true);
      this.conversation.stopSpeaking();
      this.conversation.clear();
      this.heldSamples = 0;
    } else if (this.heldSamples >= SHORTEST_TURN) {
      this.conversation.commit();
    } else {
      this.conversation.clear();
    }
    this.dispatch({ type: "holding", on: down });
    if (!down && this.heldSamples < SHORTEST_TURN) this.tell.notice("Hold while you speak.");
  }

  handsFree() {
    this.conversation.setManual(false);
  }

  /** Takes up sound again after the device took it; must be called in a click. */
  async resume() {
    await Promise.all(this.contexts.map((context) => context.resume()));
  }

  /** Puts another microphone into the running call. */
  async changeMicrophone(deviceId) {
    const { signal } = this.life;
    try {
      const { stream } = await this.ask(deviceId, signal);
      if (signal.aborted) return;
      this.stopCapture();
      stopTracks(this.stream);
      this.attach(stream);
    } catch (error) {
      if (!signal.aborted) this.fail(error);
    }
  }

  /** A browser that goes offline leaves the socket open, as if it were only quiet. */
  offline() {
    const { phase } = this.getState();
    if (phase === "live" || phase === "connecting") this.lost(1006, null);
  }

  open(context) {
    this.contexts.push(context);
    context.resume().catch(() => {});
    context.onstatechange = () => this.checkSound();
    return context;
  }

  checkSound() {
    this.dispatch({ type: "paused", on: this.contexts.some(({ state }) => state !== "running") });
  }

  /** Microphone and loudspeaker. Nobody who only types is asked for either. */
  async prepareSound(deviceId, signal) {
    if (!isSecureContext) throw new Refusal({ problem: "insecure" });
    if (!navigator.mediaDevices || !globalThis.AudioWorkletNode) throw new Refusal({ problem: "old-browser" });
    const playbackContext = this.open(createPlaybackContext());
    const captureContext = this.open(new AudioContext({ latencyHint: "interactive" }));
    const asked = this.ask(deviceId, signal).then((answer) => {
      this.stream = answer.stream; // from here on `finish` lets go of it, even if a worklet does not load
      return answer;
    });
    const [{ stream, usedDefault }] = await Promise.all([
      asked,
      loadCapture(captureContext),
      loadPlayback(playbackContext),
    ]);
    signal.throwIfAborted();
    this.playback = new Playback(playbackContext, (event) => this.played(event));
    this.captureContext = captureContext;
    this.attach(stream);
    if (usedDefault) this.tell.notice("The microphone you chose is not there. The default one is used.");
    this.dispatch({ type: "microphone" });
  }

  async ask(deviceId, signal) {
    try {
      const answer = await askForMicrophone(deviceId);
      // Allowed after the person gave up waiting, or while something else failed.
      if (signal.aborted) stopTracks(answer.stream);
      return answer;
    } catch (error) {
      const problem = microphoneProblem(error);
      // Granted to the page and yet refused: the system says no.
      const allowedHere = problem === "denied" && (await isGranted());
      throw new Refusal({ problem }, { allowedHere });
    }
  }

  played(event) {
    this.counters.playedSamples = this.playedBefore + event.totalPlayed;
    this.counters.underruns = this.underrunsBefore + event.underruns;
    this.conversation?.heard(event);
    if (event.type === "position") this.tell.level("assistant", event.level);
  }

  attach(stream) {
    this.stream = stream;
    this.stopCapture = startCapture(this.captureContext, stream, (frame) => this.frame(frame));
    for (const track of stream.getAudioTracks()) {
      track.enabled = !this.getState().muted;
      track.onended = () => this.finish({ type: "failed", problem: "lost-microphone" });
    }
    if (!cancelsEcho(stream)) this.tell.notice("Use headphones: this browser is not cancelling echo.");
    this.tell.microphone(stream);
  }

  frame({ samples, level }) {
    const { phase, muted, hearing, manual, holding } = this.getState();
    if (phase !== "live") return;
    const off = muted || (manual && !holding);
    this.tell.level("you", off ? 0 : level);
    if (manual && !holding) return;
    if (muted && !hearing && this.silenceSent >= SILENCE_SENT_WHEN_MUTED) return;
    // Server-side turn detection hears the end of a turn only in the silence after it, so silence is sent too.
    if (muted) this.silenceSent += samples.length;
    if (this.socket.sendAudio(samples)) {
      this.counters.sentSamples += samples.length;
      this.heldSamples += samples.length;
    }
    this.counters.droppedFrames = this.socket.droppedFrames;
  }

  async connect(signal) {
    const pass = await mint(signal);
    this.counters.tokens += 1;
    this.tell.pass(pass);
    this.maxSessionSeconds = pass.maxSessionSeconds;
    const socket = new RelaySocket(pass.relayUrl, pass.token, {
      onEvent: (event) => this.receive(event),
      onClose: (code, error) => this.lost(code, error),
    });
    this.socket = socket;
    this.conversation = new Conversation({
      send: (event) => socket.send(event),
      playback: this.playback,
      transcript: this.transcript,
      dispatch: this.dispatch,
      counters: this.counters,
    });
    this.heartbeat = new Heartbeat({
      send: (t) => socket.send({ type: "airlock.ping", t }),
      onSlow: (on) => this.dispatch({ type: "slow", on }),
      onDead: () => this.lost(1006, null),
    });
  }

  receive(event) {
    if (event.type === "session.created") this.connected();
    this.conversation.receive(event);
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        clearTimeout(this.settling);
        this.settling = setTimeout(() => this.dispatch({ type: "settled" }), GO_AHEAD_MILLISECONDS);
        return;
      case "airlock.session.started":
        this.setDeadline(event.ends_at - event.server_time, event.max_session_seconds);
        this.heartbeat.start(); // only a relay that speaks airlock.v1 would answer
        return this.tell.started(event);
      case "airlock.session.draining":
        return this.tell.notice("The relay is restarting. The page reconnects by itself.");
      case "airlock.session.ended":
        this.receipt = event.receipt; // shown at the end of the call, which this need not be
        return;
      case "airlock.pong":
        return this.heartbeat.answered(event.t);
    }
  }

  connected() {
    const again = this.wasLive;
    this.wasLive = true;
    this.startedAt ??= performance.now();
    this.receipt = null;
    if (!this.deadline && this.maxSessionSeconds) this.setDeadline(this.maxSessionSeconds, this.maxSessionSeconds);
    this.backoff.connected();
    this.dispatch({ type: "connected" });
    this.checkSound();
    if (again) this.transcript.note("Reconnected. The assistant starts fresh; your transcript is still here.");
    for (const text of this.typed.splice(0)) this.conversation.say(text);
  }

  setDeadline(secondsLeft, seconds) {
    this.deadline = new Deadline(secondsLeft, seconds, performance.now());
    // The relay ends the session; this only keeps the page from waiting for one that does not.
    clearTimeout(this.overdue);
    const end = () => this.finish({ type: "failed", problem: "time-up", details: this.summary() });
    this.overdue = setTimeout(end, secondsLeft * 1000 + CLOSE_GRACE_MILLISECONDS);
  }

  lost(code, error) {
    const { problem, retry } = judgeClose(code, error?.code);
    this.disconnect();
    const delay = retry ? this.backoff.lost() : null;
    if (delay !== null) {
      this.dispatch({ type: "dropped", attempt: this.backoff.attempt });
      this.reconnect(delay, this.life.signal);
      return;
    }
    const details = { ...this.summary(), message: error?.message, retryAfter: error?.retry_after };
    this.finish(problem === null ? { type: "ended", details } : { type: "failed", problem, details });
  }

  async reconnect(delay, signal) {
    try {
      await pause(delay, signal);
      await online(signal);
      await this.connect(signal);
    } catch (error) {
      if (signal.aborted) return;
      const again = error instanceof Refusal && error.retry ? this.backoff.lost() : null;
      if (again === null) return this.fail(error);
      this.dispatch({ type: "dropped", attempt: this.backoff.attempt });
      this.reconnect(again, signal);
    }
  }

  /** Undoes `connect`. The microphone stays, so that a reconnection asks for nothing. */
  disconnect() {
    this.heartbeat?.stop();
    clearTimeout(this.settling);
    clearTimeout(this.overdue);
    this.socket?.close();
    this.playback?.flush();
    this.transcript.close();
    this.deadline = this.socket = this.heartbeat = this.conversation = null;
  }

  fail(error) {
    const known = error instanceof Refusal;
    const details = { ...this.summary(), ...(known ? error.details : {}) };
    this.finish({ type: "failed", problem: known ? error.problem : "error", details });
  }

  /** The one way out: undoes everything, in whatever state it is, and says why. */
  finish(event) {
    this.life?.abort();
    this.disconnect();
    this.typed = [];
    this.stopCapture?.();
    stopTracks(this.stream);
    this.playback?.stop();
    for (const context of this.contexts) {
      context.onstatechange = null;
      context.close().catch(() => {});
    }
    this.contexts = [];
    this.stream = this.stopCapture = this.playback = this.captureContext = null;
    this.dispatch(event);
  }

  summary() {
    const seconds = this.startedAt === null ? 0 : (performance.now() - this.startedAt) / 1000;
    return { seconds, turns: this.transcript.count, limitSeconds: this.maxSessionSeconds };
  }
}

async function isGranted() {
  try {
    return (await navigator.permissions.query({ name: "microphone" })).state === "granted";
  } catch {
    return false; // not every browser can be asked
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

async function online(signal) {
  if (navigator.onLine) return;
  await new Promise((resolve, reject) => {
    addEventListener("online", resolve, { once: true, signal });
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}
