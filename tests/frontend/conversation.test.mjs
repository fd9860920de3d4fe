import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";

import { converse } from "../../frontend/conversation.js";
import { Transcript } from "../../frontend/transcript.js";

const SECOND = 24000;
let sent;
let dispatched;
let counters;
let noticed;
let playback;
let transcript;
let conversation;

class FakePlayback {
  latency = () => 0.03;
  pushed = [];
  ended = [];
  position = { item: null, played: 0 };

  push(item, samples) {
    this.pushed.push([item, samples.length]);
  }

  end(item) {
    this.ended.push(item);
  }

  async flush() {
    return this.position;
  }
}

function begin({ silent = false } = {}) {
  sent = [];
  dispatched = [];
  noticed = [];
  counters = { receivedSamples: 0, droppedDeltas: 0, lastInterruption: null, lastAnswer: null, usedTokens: 0 };
  playback = silent ? null : new FakePlayback();
  transcript = new Transcript(() => {});
  conversation = converse({
    send: (event) => sent.push(event),
    playback,
    transcript,
    dispatch: (type) => dispatched.push(type),
    notice: (text) => noticed.push(text),
    counters,
  });
  receive("session.created", { session: { audio: { input: { turn_detection: { type: "server_vad" }, transcription: {} } } } });
}

beforeEach(() => begin());

const receive = (type, fields) => conversation.receive({ type, ...fields });
const place = (item = "A", response = "R") => ({ item_id: item, response_id: response, output_index: 0, content_index: 0 });
const audio = (seconds, ...where) => ({
  ...place(...where),
  delta: Buffer.from(new Int16Array(seconds * SECOND).buffer).toString("base64"),
});
const types = () => sent.map(({ type }) => type);
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Two seconds of an answer have arrived, `played` samples of them were played. */
function speaking(played) {
  receive("response.created", { response: { id: "R" } });
  receive("response.output_audio_transcript.delta", { ...place(), delta: "One two three four" });
  receive("response.output_audio.delta", audio(2));
  conversation.heard({ type: "started", item: "A" });
  playback.position = { item: "A", played };
}

test("speech over the answer cuts it where it was heard", async () => {
  speaking(SECOND);
  receive("input_audio_buffer.speech_started", { item_id: "U" });
  await settled();
  assert.deepEqual(sent, [{ type: "conversation.item.truncate", item_id: "A", content_index: 0, audio_end_ms: 970 }]);
  const [answer, user] = transcript.turns;
  assert.deepEqual([answer.text, answer.interrupted, user.who], ["One two", true, "you"]);
  const { playedMilliseconds, heardMilliseconds } = counters.lastInterruption;
  assert.deepEqual([playedMilliseconds, heardMilliseconds], [1000, 970]);
});

test("what still arrives of a cut answer is neither heard nor written", async () => {
  speaking(SECOND);
  receive("input_audio_buffer.speech_started", { item_id: "U" });
  receive("response.output_audio.delta", audio(1));
  await settled();
  receive("response.output_audio.delta", audio(1, "B"));
  receive("response.output_audio_transcript.delta", { ...place(), delta: " five" });
  receive("response.output_audio_transcript.done", { ...place(), transcript: "One two three four five" });
  assert.deepEqual(playback.pushed, [["A", 2 * SECOND]]);
  assert.deepEqual([counters.receivedSamples, counters.droppedDeltas], [2 * SECOND, 2]);
  assert.equal(transcript.turns[0].text, "One two");
});

test("an answer cut before a sample was heard is not truncated: the service refuses zero", async () => {
  speaking(0.02 * SECOND);
  receive("input_audio_buffer.speech_started", { item_id: "U" });
  await settled();
  assert.deepEqual(sent, []);
});

test("an answer already played to its end is not truncated", async () => {
  speaking(SECOND);
  receive("response.output_audio.done", place());
  receive("response.done", { response: { id: "R", status: "completed" } });
  conversation.heard({ type: "finished", item: "A" });
  receive("input_audio_buffer.speech_started", { item_id: "U" });
  await settled();
  assert.deepEqual(sent, []);
  assert.deepEqual([...new Set(playback.ended)], ["A"]);
});

test("an answer that has arrived whole but still sounds is truncated", async () => {
  speaking(SECOND);
  receive("response.done", { response: { id: "R", status: "completed" } });
  receive("input_audio_buffer.speech_started", { item_id: "U" });
  await settled();
  assert.deepEqual(types(), ["conversation.item.truncate"]);
});

test("the Stop button cancels first, since the model does not know", async () => {
  speaking(SECOND);
  await conversation.stopSpeaking();
  await conversation.stopSpeaking();
  assert.deepEqual(types(), ["response.cancel", "conversation.item.truncate"]);
});

test("a session that forbids interruption is not interrupted", async () => {
  const turn_detection = { type: "server_vad", interrupt_response: false };
  receive("session.updated", { session: { audio: { input: { turn_detection } } } });
  speaking(SECOND);
  receive("input_audio_buffer.speech_started", { item_id: "U" });
  await settled();
  assert.deepEqual(sent, []);
});

test("two items: only the one sounding is truncated, both are marked", async () => {
  speaking(SECOND);
  receive("response.output_audio_transcript.delta", { ...place("B"), delta: "More" });
  receive("response.output_audio.delta", audio(1, "B"));
  receive("input_audio_buffer.speech_started", { item_id: "U" });
  await settled();
  assert.deepEqual(sent.map((event) => event.item_id), ["A"]);
  assert.ok(transcript.turns.slice(0, 2).every((turn) => turn.interrupted));
});

test("typing while the assistant speaks waits for the cancelled answer to be over", async () => {
  speaking(SECOND);
  conversation.say("Stop there");
  await settled();
  assert.deepEqual(types(), ["response.cancel", "conversation.item.create", "conversation.item.truncate"]);
  receive("response.done", { response: { id: "R", status: "cancelled" } });
  assert.equal(sent.at(-1).type, "response.create");
});

test("who only types gets text, and speech if the profile allows nothing else", () => {
  begin({ silent: true });
  conversation.say("Hello");
  assert.deepEqual(sent.at(-1).response, { output_modalities: ["text"] });
  receive("error", { error: { code: "field_locked", event_id: "as-text" } });
  assert.deepEqual(sent.at(-1), { type: "response.create" });
  receive("response.created", { response: { id: "R" } });
  receive("response.output_audio.delta", audio(1));
  receive("response.output_audio_transcript.done", { ...place(), transcript: "Hello yourself" });
  assert.deepEqual(transcript.turns.map(({ text }) => text), ["Hello", "Hello yourself"]);
});

test("the person's turn stands before the answer, however late its text comes", () => {
  receive("input_audio_buffer.speech_started", { item_id: "U" });
  receive("input_audio_buffer.committed", { item_id: "U" });
  receive("response.output_audio_transcript.delta", { ...place(), delta: "Hi" });
  receive("conversation.item.input_audio_transcription.delta", { item_id: "U", delta: "Good" });
  assert.deepEqual(transcript.turns.map(({ text, final }) => [text, final]), [["Good", false], ["Hi", false]]);
  receive("conversation.item.input_audio_transcription.completed", { item_id: "U", transcript: "Good morning" });
  assert.deepEqual([transcript.turns[0].text, transcript.turns[0].final], ["Good morning", true]);
});

test("a connection that is gone leaves no turn open", () => {
  receive("input_audio_buffer.speech_started", { item_id: "U" });
  receive("response.output_audio_transcript.delta", { ...place(), delta: "Hi" });
  transcript.close();
  assert.deepEqual(transcript.turns.map(({ final, interrupted }) => [final, interrupted]), [[true, false], [true, true]]);
  assert.equal(transcript.count, 1);
});

test("hold to talk that the profile does not allow says so, and listening goes on", () => {
  conversation.setManual(true);
  assert.equal(sent.at(-1).session.audio.input.turn_detection, null);
  receive("session.updated", { session: { audio: { input: { turn_detection: { type: "server_vad" } } } } });
  assert.deepEqual(noticed, ["Hold to talk is not allowed here. Just speak."]);
  conversation.setManual(true);
  receive("error", { error: { code: "field_locked", event_id: "turns" } });
  assert.equal(noticed.length, 2);
  conversation.setManual(true);
  receive("session.updated", { session: { audio: { input: { turn_detection: null } } } });
  assert.equal(noticed.length, 2);
});

test("the wait for an answer runs from the end of the turn to what can be heard", () => {
  receive("input_audio_buffer.speech_stopped", {});
  receive("response.created", { response: { id: "R" } });
  receive("response.output_audio.delta", audio(1));
  conversation.heard({ type: "started", item: "A", audibleAt: performance.now() + 100 });
  const { milliseconds, fromFirstDelta } = counters.lastAnswer;
  assert.ok(milliseconds >= fromFirstDelta && fromFirstDelta >= 99 && milliseconds < 1000);
});

test("a tool that is called is a line of the transcript, and tokens are counted", () => {
  receive("response.function_call_arguments.done", { name: "look_out", arguments: "{}" });
  receive("response.done", { response: { id: "other", usage: { total_tokens: 40 } } });
  receive("response.done", { response: { id: "another", usage: { total_tokens: 2 } } });
  assert.equal(transcript.toText(), "Note: The assistant calls look_out.");
  assert.equal(counters.usedTokens, 42);
});

test("a refused response leaves nobody waiting", () => {
  conversation.say("Hello");
  receive("error", { error: { code: "response_limit", message: "Too many.", event_id: null } });
  assert.deepEqual([dispatched.at(-1), noticed], ["answered", ["Too many."]]);
});

test("unknown events change nothing", () => {
  const before = dispatched.length;
  receive("response.something_new", { delta: "x" });
  receive("error", { error: { code: "response_cancel_not_active", event_id: null } });
  assert.equal(dispatched.length, before);
});

test("the transcript as text names the speakers and the interruption", async () => {
  transcript.finish("U", "you", "How long?");
  speaking(SECOND);
  await conversation.stopSpeaking();
  transcript.note("Reconnected.");
  assert.equal(transcript.toText(), "You: How long?\nAssistant: One two — interrupted\nNote: Reconnected.");
  assert.equal(transcript.count, 2);
});
