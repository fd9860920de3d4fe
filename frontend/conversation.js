/** What the model's events mean for the transcript, for what is heard, and for where the conversation stands. */

import { MILLISECOND, WIRE_RATE, decodeBase64 } from "./audio/pcm.js";

const HEARD = "conversation.item.input_audio_transcription";
const GO_AHEAD_MS = 600;
const SHORTEST_TURN = 100 * MILLISECOND; // the service refuses less

/** Without a `playback` answers are asked for as text. */
export function converse({ send, playback, transcript, dispatch, notice, counters }) {
	let interrupts = true;
	let transcribes = true;
	let asText = !playback;
	let turnDetection = { type: "server_vad" };
	let wantsManual;
	let heldFrom;
	let activeResponse;
	let answerWhenDone;
	let items = new Map(); // not yet played to their end: samples received and response by item
	const cut = new Set(); // responses and items whose rest must not be heard
	let turnEndedAt = null; // null once the answer is heard
	let firstDeltaAt = null;
	let writing; // the item whose text is coming

	const isCut = (event) => cut.has(event.response_id) || cut.has(event.item_id);
	const assistantSays = (event, item) => isCut(event) || transcript.append((writing = item), "assistant", event.delta);
	const assistantSaid = ({ transcript: spoken, text }, item) => {
		writing = null;
		transcript.finish(item, "assistant", spoken ?? text);
	};

	const meanings = {
		__proto__: null,
		"session.created": configure,
		"session.updated": configure,
		"input_audio_buffer.speech_started"(_, item) {
			dispatch("speech-started", { interrupts });
			setTimeout(dispatch, GO_AHEAD_MS, "settled");
			transcript.turn(item, "you"); // before the answer, however late its text comes
			if (interrupts) interrupt();
		},
		"input_audio_buffer.speech_stopped"() {
			turnEndedAt = performance.now();
			dispatch("speech-stopped");
		},
		"input_audio_buffer.committed"(_, item) {
			transcript.turn(item, "you");
			if (!transcribes) transcript.finish(item, "you", "(spoken; this session is not transcribed)");
		},
		[`${HEARD}.delta`]: ({ delta = "" }, item) => transcript.append(item, "you", delta),
		[`${HEARD}.completed`]: (event, item) => transcript.finish(item, "you", event.transcript),
		[`${HEARD}.failed`]: (_, item) => transcript.finish(item, "you", "(could not be transcribed)"),
		"response.created"({ response: { id } }) {
			activeResponse = id;
			firstDeltaAt = null;
			dispatch("answering");
		},
		"response.output_audio.delta"(event, item) {
			if (isCut(event)) counters.droppedDeltas += 1;
			else if (playback) {
				firstDeltaAt ??= performance.now();
				const bytes = decodeBase64(event.delta);
				const samples = new Int16Array(bytes.buffer, 0, bytes.length >> 1);
				const received = samples.length + (items.get(item)?.received ?? 0);
				items.set(item, { received, response: event.response_id });
				counters.receivedSamples += samples.length;
				playback.push(item, samples);
			}
		},
		"response.output_audio.done": (_, item) => items.has(item) && playback.end(item),
		"response.output_audio_transcript.delta": assistantSays,
		"response.output_audio_transcript.done": assistantSaid,
		"response.output_text.delta": assistantSays,
		"response.output_text.done": assistantSaid,
		"response.function_call_arguments.done": ({ name = "a tool" }) => transcript.note(`The assistant calls ${name}.`),
		"response.done"({ response: { id, status, usage } }) {
			counters.usedTokens += usage?.total_tokens ?? 0;
			if (id !== activeResponse) return;
			activeResponse = null;
			for (const [item, { response }] of items) if (response === id) playback.end(item);
			if (status === "failed") transcript.note("The assistant could not answer. Say or type it again.");
			dispatch("answered");
			if (answerWhenDone) askForAnswer();
		},
		error({ error: { event_id: cause, code, message } }) {
			if (cause === "turns") settleManual(false);
			if (code === "response_limit") {
				dispatch("answered");
				notice(message);
			} else if (cause === "as-text") {
				// The profile forbids it: then the answer is spoken.
				asText = false;
				askForAnswer();
			}
		},
	};

	function configure({ session }) {
		const { turn_detection: turns, transcription } = session.audio?.input ?? {};
		settleManual(turns === null);
		turnDetection = turns ?? turnDetection;
		interrupts = turns?.interrupt_response !== false;
		transcribes = Boolean(transcription);
	}

	/** Lets the person end turns with a button, or the model by listening. */
	function setManual(on) {
		wantsManual = on;
		dispatch("manual", { on });
		const session = { type: "realtime", audio: { input: { turn_detection: on ? null : turnDetection } } };
		send({ type: "session.update", event_id: "turns", session });
	}

	function settleManual(on) {
		if (wantsManual && !on) notice("Hold to talk is not allowed here. Just speak.");
		wantsManual = false;
		dispatch("manual", { on });
	}

	/** Asks for an answer, after the one that is being cancelled. */
	function answer() {
		turnEndedAt = performance.now();
		if (activeResponse) answerWhenDone = true;
		else askForAnswer();
	}

	function askForAnswer() {
		answerWhenDone = false;
		dispatch("answering");
		send({ type: "response.create", ...(asText && { event_id: "as-text", response: { output_modalities: ["text"] } }) });
	}

	/** Unlike speech, which the model notices itself, a button must be told. */
	function stopSpeaking() {
		if (activeResponse && !cut.has(activeResponse)) send({ type: "response.cancel" });
		return interrupt();
	}

	/** Falls silent, and tells the model how much of its answer was heard. */
	async function interrupt() {
		if (activeResponse) cut.add(activeResponse);
		// What is read is read as it comes; what was to be heard is not there yet.
		if (writing && !items.has(writing)) transcript.interrupt(writing, asText ? 1 : 0);
		if (items.size === 0) return;
		const interrupted = items;
		for (const id of items.keys()) cut.add(id);
		items = new Map();
		dispatch("sound-stopped");
		const latency = playback.latency() * WIRE_RATE;
		const flushing = performance.now();
		const { item, played } = await playback.flush();
		const flushMilliseconds = performance.now() - flushing;
		for (const [id, { received }] of interrupted) {
			const heard = id === item ? Math.min(received, Math.max(0, played - latency)) : 0;
			transcript.interrupt(id, heard / received);
			const heardMilliseconds = Math.floor(heard / MILLISECOND);
			if (heardMilliseconds === 0) continue; // the service refuses to cut at zero
			send({ type: "conversation.item.truncate", item_id: id, content_index: 0, audio_end_ms: heardMilliseconds });
			counters.lastInterruption = { playedMilliseconds: played / MILLISECOND, heardMilliseconds, flushMilliseconds };
		}
	}

	return {
		setManual,
		stopSpeaking,

		receive(event) {
			meanings[event.type]?.(event, event.item_id);
		},

		heard({ type, item, audibleAt }) {
			if (type === "started") {
				if (firstDeltaAt) {
					const milliseconds = turnEndedAt && audibleAt - turnEndedAt;
					counters.lastAnswer = { milliseconds, fromFirstDelta: audibleAt - firstDeltaAt };
					turnEndedAt = firstDeltaAt = null;
				}
				dispatch("sound-started");
			} else if (type === "finished") {
				items.delete(item);
				if (items.size === 0) dispatch("sound-stopped");
			}
		},

		say(text) {
			stopSpeaking(); // the model gives one answer at a time
			transcript.finish(`typed-${transcript.turns.length}`, "you", text);
			const item = { type: "message", role: "user", content: [{ type: "input_text", text }] };
			send({ type: "conversation.item.create", item });
			answer();
		},

		hold(down, manual) {
			if (down) {
				if (!manual) setManual(true);
				stopSpeaking();
				heldFrom = counters.sentSamples;
			}
			const said = !down && counters.sentSamples - heldFrom >= SHORTEST_TURN;
			if (!down && !said) notice("Hold while you speak.");
			send({ type: `input_audio_buffer.${said ? "commit" : "clear"}` });
			dispatch("holding", { on: down });
			if (said) answer();
		},

		leave() {
			playback?.flush();
			transcript.close();
		},
	};
}
