/**
 * What the model's events mean: for the transcript, for what is heard, and for where the conversation stands. Knows
 * neither the page nor the audio graph; it is given a way to `send` events, a `playback` and a `transcript`, and calls
 * `dispatch(event)` with events of `state.js` and `notice(text)` with words for the person.
 */

import { decodeBase64 } from "./audio/base64.js";
import { WIRE_SAMPLES_PER_MS } from "./audio/pcm.js";

export class Conversation {
  /** `playback` is missing where nothing shall sound; then answers are asked for as text. */
  constructor({ send, playback, transcript, dispatch, notice, counters }) {
    Object.assign(this, { send, playback, transcript, dispatch, notice, counters });
    this.interruptible = true;
    this.transcribes = true;
    this.activeResponse = null;
    this.answerWhenDone = false;
    /** Audio items not yet played to their end: id → samples received and the response they belong to. */
    this.items = new Map();
    this.cut = new Set(); // ids of responses and items whose rest must not be heard
    this.turnEndedAt = this.firstDeltaAt = null; // milliseconds; null once the answer is heard
    this.asText = !playback;
    this.writing = null; // the item whose text is coming
  }

  receive(event) {
    switch (event.type) {
      case "session.created":
      case "session.updated":
        return this.configure(event.session ?? {});
      case "input_audio_buffer.speech_started":
        return this.speechStarted(event.item_id);
      case "input_audio_buffer.speech_stopped":
        this.turnEndedAt = performance.now();
        return this.dispatch({ type: "speech-stopped" });
      case "input_audio_buffer.committed":
        return this.committed(event.item_id);
      case "conversation.item.input_audio_transcription.delta":
        return this.transcript.append(event.item_id, "you", event.delta ?? "");
      case "conversation.item.input_audio_transcription.completed":
        return this.transcript.finish(event.item_id, "you", event.transcript);
      case "conversation.item.input_audio_transcription.failed":
        return this.transcript.finish(event.item_id, "you", "(could not be transcribed)");
      case "response.created":
        return this.responseCreated(event.response.id);
      case "response.done":
        return this.responseDone(event.response);
      case "response.output_audio.delta":
        return this.audioDelta(event);
      case "response.output_audio.done":
        return this.audioDone(event.item_id);
      case "response.output_audio_transcript.delta":
      case "response.output_text.delta":
        if (this.isCut(event)) return;
        this.writing = event.item_id;
        return this.transcript.append(event.item_id, "assistant", event.delta);
      case "response.output_audio_transcript.done":
      case "response.output_text.done":
        this.writing = null;
        return this.transcript.finish(event.item_id, "assistant", event.transcript ?? event.text);
      case "response.function_call_arguments.done":
        return this.transcript.note(`The assistant calls ${event.name ?? "a tool"}.`);
      case "error":
        return this.refused(event.error ?? {});
    }
  }

  /** Takes the events of the playback. */
  heard({ type, item, audibleAt }) {
    if (type === "started") {
      this.measure(audibleAt);
      this.dispatch({ type: "sound-started" });
    }
    if (type !== "finished") return;
    this.items.delete(item);
    if (this.items.size === 0) this.dispatch({ type: "sound-stopped" });
  }

  /** How long the answer took that can be heard from now on. */
  measure(audibleAt) {
    if (this.firstDeltaAt === null) return;
    const since = (time) => (time === null ? null : audibleAt - time);
    this.counters.lastAnswer = { milliseconds: since(this.turnEndedAt), fromFirstDelta: since(this.firstDeltaAt) };
    this.turnEndedAt = this.firstDeltaAt = null;
  }

  /** Says something by typing. An answer in progress is stopped first: the model gives one at a time. */
  say(text) {
    this.stopSpeaking();
    this.transcript.finish(`typed-${this.transcript.turns.length}`, "you", text);
    const item = { type: "message", role: "user", content: [{ type: "input_text", text }] };
    this.send({ type: "conversation.item.create", item });
    this.answer();
  }

  /** Ends a turn that the person took by holding the button. */
  commit() {
    this.send({ type: "input_audio_buffer.commit" });
    this.answer();
  }

  /** Forgets what was sent of a turn. */
  clear() {
    this.send({ type: "input_audio_buffer.clear" });
  }

  /** Lets the person end turns with a button, or the model by listening, as the session began. */
  setManual(manual) {
    this.wantsManual = manual;
    this.dispatch({ type: "manual", on: manual });
    const session = { type: "realtime", audio: { input: { turn_detection: manual ? null : this.turnDetection } } };
    this.send({ type: "session.update", event_id: "turns", session });
  }

  /** The profile may have kept the field: then the model goes on listening by itself. */
  configureTurns(manual) {
    if (this.wantsManual && !manual) this.notice("Hold to talk is not allowed here. Just speak.");
    this.wantsManual = false;
    this.dispatch({ type: "manual", on: manual });
  }

  /** The Stop button: unlike speech, which the model notices itself, it must be told. */
  stopSpeaking() {
    if (this.activeResponse && !this.cut.has(this.activeResponse)) this.send({ type: "response.cancel" });
    return this.interrupt();
  }

  /** Falls silent at once, drops what still arrives, and tells the model how much of its answer was heard. */
  async interrupt() {
    if (this.activeResponse) this.cut.add(this.activeResponse);
    // What streams by is read at once; what was to be spoken was not heard yet.
    if (this.writing && !this.items.has(this.writing)) this.transcript.interrupt(this.writing, this.asText ? 1 : 0);
    if (this.items.size === 0) return;
    const items = new Map(this.items);
    for (const item of items.keys()) this.cut.add(item);
    this.items.clear();
    this.dispatch({ type: "sound-stopped" });
    const latency = this.playback.latency;
    const flushing = performance.now();
    const { item, played } = await this.playback.flush();
    const flushMilliseconds = performance.now() - flushing;
    for (const [id, { received }] of items) {
      const heard = id === item ? Math.max(0, played - latency * 1000 * WIRE_SAMPLES_PER_MS) : 0;
      this.transcript.interrupt(id, heard / received);
      const milliseconds = Math.min(Math.floor(heard / WIRE_SAMPLES_PER_MS), Math.floor(received / WIRE_SAMPLES_PER_MS));
      // The service refuses to cut at zero.
      if (milliseconds === 0) continue;
      this.send({ type: "conversation.item.truncate", item_id: id, content_index: 0, audio_end_ms: milliseconds });
      const playedMilliseconds = played / WIRE_SAMPLES_PER_MS;
      this.counters.lastInterruption = { playedMilliseconds, heardMilliseconds: milliseconds, flushMilliseconds };
    }
  }

  configure(session) {
    const input = session.audio?.input ?? {};
    this.configureTurns(input.turn_detection === null);
    this.turnDetection = input.turn_detection ?? this.turnDetection ?? { type: "server_vad" };
    this.interruptible = input.turn_detection?.interrupt_response !== false;
    this.transcribes = Boolean(input.transcription);
  }

  speechStarted(item) {
    this.dispatch({ type: "speech-started", interrupts: this.interruptible });
    // The turn gets its place now, since its text may come after the answer's.
    this.transcript.turn(item, "you");
    if (this.interruptible) this.interrupt();
  }

  committed(item) {
    this.transcript.turn(item, "you");
    if (!this.transcribes) this.transcript.finish(item, "you", "(spoken; this session is not transcribed)");
  }

  responseCreated(id) {
    this.activeResponse = id;
    this.firstDeltaAt = null;
    this.dispatch({ type: "answering" });
  }

  responseDone(response) {
    this.counters.usedTokens += response.usage?.total_tokens ?? 0;
    if (response.id !== this.activeResponse) return;
    this.activeResponse = null;
    for (const [item, { response: owner }] of this.items) if (owner === response.id) this.playback.end(item);
    if (response.status === "failed") this.transcript.note("The assistant could not answer. Say or type it again.");
    this.dispatch({ type: "answered" });
    if (!this.answerWhenDone) return;
    this.answerWhenDone = false;
    this.askForAnswer();
  }

  audioDelta(event) {
    if (this.isCut(event)) this.counters.droppedDeltas += 1;
    if (this.isCut(event) || !this.playback) return;
    const { item_id: item, response_id: response, delta } = event;
    this.firstDeltaAt ??= performance.now();
    const bytes = decodeBase64(delta);
    const samples = new Int16Array(bytes.buffer, 0, bytes.length >> 1);
    const known = this.items.get(item) ?? { received: 0, response };
    known.received += samples.length;
    this.items.set(item, known);
    this.counters.receivedSamples += samples.length;
    this.playback.push(item, samples);
  }

  audioDone(item) {
    if (this.items.has(item)) this.playback.end(item);
  }

  isCut({ item_id: item, response_id: response }) {
    return this.cut.has(response) || this.cut.has(item);
  }

  /** Asks for an answer, after the one that is being cancelled. */
  answer() {
    this.turnEndedAt = performance.now();
    if (this.activeResponse) this.answerWhenDone = true;
    else this.askForAnswer();
  }

  askForAnswer() {
    this.dispatch({ type: "answering" });
    // Who types may be where nothing should sound.
    const response = { output_modalities: ["text"] };
    this.send(this.asText ? { type: "response.create", event_id: "as-text", response } : { type: "response.create" });
  }

  refused({ event_id: cause, code, message }) {
    if (cause === "turns") return this.configureTurns(false);
    if (code === "response_limit") {
      this.dispatch({ type: "answered" });
      return this.notice(message);
    }
    if (cause !== "as-text") return;
    // This profile does not let a page choose; then the answer is spoken, with its transcript.
    this.asText = false;
    this.askForAnswer();
  }
}
