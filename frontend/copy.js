/**
 * What the page says of its state: short, present tense, no apology, and always whether the microphone is on. `word` is
 * the header's, if not the heading; `main` what the one start/end button does; `also` the other actions.
 */

const button = (text, action = "start") => ({ text, action });
const CANCEL = button("Cancel", "cancel");
const AGAIN = button("Start again");
const RETRY = button("Try again");
const WAIT = button("Try again"); // held back until its time
const TALK = ["mute", "hold"];
const TALK_OR_STOP = [...TALK, "stop"];

const off = ({ mode }) => (mode === "voice" ? "Microphone off." : "The microphone was not used.");
const andOff = (hint) => (state) => `${hint} ${off(state)}`;
const message = (otherwise) => (state) => state.details.message || otherwise;

const row = (tone, heading, hint, word, main, also, remedy) => ({ tone, heading, hint, word, main, also, remedy });
const live = (tone, heading, hint, word, also = TALK) => row(tone, heading, hint, word, button("End", "end"), also);
const over = (tone, heading, hint, word, main = AGAIN, remedy) =>
	row(tone, heading, hint, word, main, main === WAIT ? [] : ["type"], remedy);
const blocked = (word, heading, hint, remedy, main = RETRY) => over("bad", heading, hint, word, main, remedy);

export const SCREENS = {
	idle: over(
		"ctl", "Talk with the assistant.",
		"Press start and your browser will ask for the microphone. Nothing is heard before that.", "Ready", button("Start talking"),
	),
	asking: over(
		"warn", "Allow the microphone.", "Your browser is asking now, usually near the address bar.", "Waiting for you", CANCEL,
	),
	connecting: row(
		"warn", "Connecting.",
		({ mode }) => (mode === "voice" ? "Your microphone is ready. Nothing is sent yet." : "The microphone stays off."),
		"Connecting", CANCEL, [],
	),

	listening: live("you", "Listening.", "Speak when you like."),
	hearing: live("you", "Hearing you.", ({ holding }) => (holding ? "Let go to get an answer." : "")),
	interrupted: live("you", "Go ahead.", "", "Hearing you"),
	thinking: live("voice", "One moment.", ({ muted }) => (muted ? "You are muted." : ""), "Thinking", TALK_OR_STOP),
	speaking: live("voice", "Speaking.", howToInterrupt, "Speaking", TALK_OR_STOP),
	muted: live(
		"warn", "Muted.", "Nothing is being heard. The microphone is still held by this page; End lets it go.", "Muted", ["mute"],
	),
	hold: live(
		"you", "Hold to talk.", "Nothing is sent until you hold the button. Let go to get an answer.", "Waiting for you",
	),
	ready: live("voice", "Type a message.", "The microphone is off. Answers come as text.", "Ready"),
	slow: live("warn", "Slow connection.", "Your words may arrive late."),
	reconnecting: live(
		"warn", "The connection dropped.",
		({ attempt }) => `Trying again with a fresh pass, ${attempt} of 5. Nothing is being sent.`, "Reconnecting", [],
	),
	paused: live("warn", "Paused by your device.", "A call or another app took the sound.", "Paused", ["continue"]),

	ended: over("ctl", "Ended.", whatItWas),
	"long-silence": over("ctl", "Ended after a long silence.", whatItWas, "Ended"),
	"time-up": over("warn", "Time is up.", (state) => `This session reached its limit of ${limit(state)}. ${off(state)}`),
	quota: over(
		"warn", "Enough for now.", andOff("You have used today's allowance."), "Allowance used", WAIT,
		({ details }) => `Next one at ${details.tomorrow?.toLocaleTimeString([], { timeStyle: "short" }) ?? "midnight UTC"}.`,
	),
	budget: over("warn", "Enough for one session.", andOff("This session used what it was given."), "Ended"),
	busy: over("warn", "All lines are busy.", off, "Busy", WAIT, ({ details: { retryAfter } }) =>
		retryAfter > 0 ? `Try again in ${counted(retryAfter, "second")}.` : "Try again in a moment.",
	),
	"pass-expired": over(
		"warn", "That pass has expired.", andOff("Passes last five minutes and work once."), "Pass expired",
		button("Get a new one"),
	),

	denied: blocked(
		"Microphone blocked", "The microphone is blocked.",
		"This page asked for the microphone and the browser said no. Nothing was heard.", howToAllow,
	),
	"no-microphone": blocked(
		"No microphone", "No microphone found.", "Nothing was heard.",
		"Plug one in or check that your system shows one, then try again.",
	),
	"busy-microphone": blocked(
		"Microphone in use", "The microphone is in use.", "Nothing was heard.",
		"Another app may be holding it. Close that app, then try again.",
	),
	"lost-microphone": blocked(
		"Microphone gone", "The microphone went away.",
		"It was unplugged, or permission was withdrawn. Nothing more is being sent.",
		"Choose a microphone, then start again.", button("Choose a microphone", "choose"),
	),
	insecure: blocked(
		"Not secure", "This page needs a secure address.", "Browsers allow the microphone only over https.",
		"Open the https address.", button("Open the https address", "secure"),
	),
	"old-browser": blocked(
		"Not supported", "This browser cannot do live voice.", "The microphone is off.",
		"A current Chrome, Edge, Firefox or Safari can. Typing works here.", button("Type instead", "type"),
	),
	"signed-out": blocked(
		"Signed out", "Please sign in again.", andOff("Your sign-in has expired, or this page may not start a session."),
		message("Sign in where you did before."), button("Sign in", "sign-in"),
	),
	"provider-down": blocked(
		"Not answering", "The speech service is not answering.", andOff("It is not your connection."),
		"Try again in a minute.",
	),
	unreachable: blocked("Offline", "The relay cannot be reached.", off, "Check your connection, then try again."),
	policy: blocked("Not allowed", "That is not allowed here.", off, message("The relay ended the session."), AGAIN),
	error: blocked("Error", "Something went wrong.", off, whatToReport, AGAIN),
};

export function describe(screen, state) {
	const found = SCREENS[screen];
	const say = (part = "") => (typeof part === "function" ? part(state) : part);
	const also = found.also
		.filter((action) => action !== found.main.action && (state.mode === "voice" || !TALK.includes(action)))
		.map((action) => (action === "mute" && state.manual ? "hands-free" : action));
	const { heading, word = heading.slice(0, -1) } = found;
	return { ...found, word, hint: say(found.hint), remedy: say(found.remedy), also };
}

function howToAllow({ details }) {
	const where = details.allowedHere
		? "Allow the microphone for this browser in your system's privacy settings"
		: "Open the site settings next to the address, allow the microphone";
	return `${where}, then try again.`;
}

function howToInterrupt({ mode, manual, muted }) {
	if (mode === "text") return "The microphone is off.";
	if (manual) return "Hold the button to interrupt.";
	return muted ? "You are muted." : "Start talking to interrupt.";
}

function whatItWas(state) {
	const { seconds, turns = 0 } = state.details;
	return `${off(state)} ${clockText(seconds)}, ${counted(turns, "turn")}. The transcript stays until you close this tab.`;
}

function whatToReport(state) {
	const { reference } = state.details;
	return reference ? `If you report this, give the reference ${reference}.` : message("Start again.")(state);
}

function limit({ details: { limitSeconds = 0 } }) {
	return limitSeconds < 60 ? counted(limitSeconds, "second") : counted(Math.round(limitSeconds / 60), "minute");
}

const counted = (count, thing) => `${count} ${thing}${count === 1 ? "" : "s"}`;

export function clockText(seconds = 0) {
	const whole = Math.ceil(seconds);
	return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** Of the relay's receipt, or of one that the page counted itself. */
export function linesOfReceipt(receipt) {
	const audio = (seconds = 0) => `${seconds.toFixed(1)} s of audio`;
	return [
		["Session", receipt.session_id],
		["Counted by", receipt.counted_by],
		["Ended", receipt.ending?.replaceAll("_", " ")],
		["Lasted", clockText(receipt.duration_seconds)],
		["You spoke into it", audio(receipt.audio_in_seconds)],
		["It answered with", audio(receipt.audio_out_seconds)],
		["Tokens used", receipt.tokens?.total],
		["Kept by the relay", receipt.stores ?? `${receipt.stored_bytes} bytes`],
	].filter(([, value]) => value !== undefined);
}
