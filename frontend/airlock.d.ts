/**
 * Types of `airlock.js`: a spoken or typed conversation through Airlock, from any page whose Origin the deployment allows.
 * docs/library.md has an example. Everything is told by events; the class shows nothing.
 */

/** What the person should be shown; the page's own words for each are in `copy.js`. */
export type Screen =
	// before and between
	| "idle" | "asking" | "connecting" | "reconnecting"
	// live
	| "listening" | "hearing" | "interrupted" | "thinking" | "speaking" | "muted" | "hold" | "ready" | "slow" | "paused"
	// over
	| "ended" | Problem;

/** Why a session could not start, or ended otherwise than by `end()`. */
export type Problem =
	| "denied" | "no-microphone" | "busy-microphone" | "lost-microphone" | "insecure" | "old-browser"
	| "signed-out" | "quota" | "budget" | "busy" | "policy" | "pass-expired" | "provider-down" | "unreachable"
	| "long-silence" | "time-up" | "error";

/** Facts that can hold together; `screen` is drawn from them. */
export interface Facts {
	readonly phase: "idle" | "asking" | "connecting" | "live" | "reconnecting" | "ended" | "failed";
	readonly mode: "voice" | "text";
	readonly hearing: boolean;
	readonly thinking: boolean;
	readonly sounding: boolean;
	readonly interrupted: boolean;
	readonly paused: boolean;
	readonly muted: boolean;
	/** Hold to talk: nothing is sent but while the button is held. */
	readonly manual: boolean;
	readonly holding: boolean;
	readonly slow: boolean;
	/** Of a reconnection, from 1 to 5. */
	readonly attempt: number;
	readonly problem: Problem | null;
	readonly details: {
		readonly seconds?: number;
		readonly turns?: number;
		readonly limitSeconds?: number;
		/** The relay's or the token service's own sentence. */
		readonly message?: string;
		/** The request id, to report. */
		readonly reference?: string;
		readonly retryAfter?: number;
		/** When allowances start anew. */
		readonly tomorrow?: Date;
		/** The page may listen, so it is the system that refuses. */
		readonly allowedHere?: boolean;
	};
}

export interface Turn {
	readonly id: string;
	/** A note is the library's own: a reconnection, a tool that is called. */
	readonly who: "you" | "assistant" | "note";
	readonly text: string;
	readonly final: boolean;
	/** The text is then what was heard of it. */
	readonly interrupted: boolean;
}

/** An event of OpenAI's Realtime protocol, or one of Airlock's own (docs/airlock-events.md). */
export interface RealtimeEvent {
	type: string;
	[field: string]: unknown;
}

export interface AirlockEvents {
	state: { screen: Screen; facts: Facts; before: Facts };
	/** A turn that is new or has changed. */
	turn: Turn;
	/** Everything that came in or went out, as it is: audio too. Redact before you show or keep it. */
	event: { direction: "in" | "out"; event: RealtimeEvent };
	/** Root mean square, 0 to 1; of you 25 times a second, of the assistant 20 times while it speaks. */
	level: { side: "you" | "assistant"; level: number };
	/** A sentence for the person. */
	notice: string;
	/** Where the voice goes and what the relay keeps, in its own words. */
	about: { provider: string; stores: string };
	microphone: { deviceId: string | undefined };
}

export interface Options {
	/** Where tokens come from; by default the service that served this module. Your own backend may mint instead. */
	mintUrl?: string | URL;
	/** For the token request: such as a signed-in person's `Authorization`. A function is asked before each request. */
	headers?: Record<string, string> | (() => Record<string, string> | Promise<Record<string, string>>);
	profile?: string;
	/** Echo cancellation, noise suppression and gain control; true unless you know better. */
	processing?: boolean;
}

/** Of one session: a start counts anew, a reconnection goes on. */
export interface Counters {
	tokens: number;
	sentSamples: number;
	/** Not sent, because the connection was too slow for them. */
	droppedFrames: number;
	captureMilliseconds: number | null;
	roundTripMilliseconds: number | null;
	receivedSamples: number;
	/** Of answers already cut. */
	droppedDeltas: number;
	playedSamples: number;
	/** Not kept, because five minutes were waiting to be played. */
	overflowedSamples: number;
	underruns: number;
	/** From the end of your turn, and from the answer's first audio, to what can be heard. */
	lastAnswer: { milliseconds: number | null; fromFirstDelta: number } | null;
	lastInterruption: { playedMilliseconds: number; heardMilliseconds: number; flushMilliseconds: number } | null;
	usedTokens: number;
}

export class Airlock extends EventTarget {
	constructor(options?: Options);

	readonly state: Screen;
	readonly facts: Facts;
	readonly counters: Counters;
	/** Of the last session the relay ended; null after `end()`, which does not wait for it. */
	readonly receipt: Record<string, unknown> | null;
	/** All turns, one line each. */
	readonly transcript: string;
	/** By the relay's clock; `share` is that of the whole session, 0 to 1. */
	readonly timeLeft: { seconds: number; share: number } | null;

	/** Call it in a click: browsers unlock sound only there. Without `text` it asks for the microphone first. */
	start(how?: { text?: boolean; microphoneId?: string; voice?: string }): Promise<void>;
	/** Lets go of everything: microphone, sound, connection. */
	end(): void;
	/** The same before the session is live, without an ending to show. */
	cancel(): void;
	/** Sends a typed message, at once or when connected. */
	say(text: string): void;
	/** Sends any event that the profile allows; false while there is no session. */
	send(event: RealtimeEvent): boolean;
	stopSpeaking(): void;
	mute(on: boolean): void;
	/** Hold to talk: true when the button goes down, false when it comes up. */
	hold(down: boolean): void;
	/** Back from hold to talk: the model hears itself when a turn ends. */
	handsFree(): void;
	/** After "paused"; call it in a click. */
	resume(): Promise<void>;
	changeMicrophone(deviceId: string): Promise<void>;

	addEventListener<Type extends keyof AirlockEvents>(
		type: Type,
		listener: (event: CustomEvent<AirlockEvents[Type]>) => void,
		options?: boolean | AddEventListenerOptions,
	): void;
}

/** Those that can be chosen; none before the person first allowed the microphone. */
export function listMicrophones(): Promise<MediaDeviceInfo[]>;
