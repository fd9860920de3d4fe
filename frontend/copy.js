/**
 * Every word the page says about its state. Short, present tense, no apology, and always whether the microphone is on.
 *
 * A row has `word` (the header's), `tone`, `heading`, `hint`, `remedy` (what to do about a problem), `main` (what the one
 * start/end button does) and `also` (the other actions). What depends on the state is a function of it.
 */

import { clockText } from "./deadline.js";

const button = (action, text) => ({ action, text });
const START = button("start", "Start talking");
const AGAIN = button("start", "Start again");
const RETRY = button("start", "Try again");
const WAIT = button("start", "Try again"); // held back until its time
const CANCEL = button("cancel", "Cancel");
const END = button("end", "End");
const TALK = ["mute", "hold"];

const off = ({ mode }) => (mode === "voice" ? "Microphone off." : "The microphone was not used.");
const row = (word, tone, heading, hint, main, also = []) => ({ word, tone, heading, hint, main, also });
const live = (word, tone, heading, hint = "", also = TALK) => row(word, tone, heading, hint, END, also);
const over = (word, tone, heading, hint, main = RETRY, remedy = "") => ({
  ...row(word, tone, heading, hint, main, main.action === "type" || main === WAIT ? [] : ["type"]),
  remedy,
});
const blocked = (word, heading, hint, remedy, main) => over(word, "bad", heading, hint, main, remedy);

export const SCREENS = {
  idle: row(
    "Ready", "none", "Talk with the assistant.",
    "Press start and your browser will ask for the microphone. Nothing is heard before that.", START, ["type"]
  ),
  asking: row(
    "Waiting for you", "warn", "Allow the microphone.", "Your browser is asking now, usually near the address bar.",
    CANCEL, ["type"]
  ),
  connecting: row(
    "Connecting", "warn", "Connecting.",
    ({ mode }) => (mode === "voice" ? "Your microphone is ready. Nothing is sent yet." : "The microphone stays off."),
    CANCEL
  ),

  listening: live("Listening", "you", "Listening.", "Speak when you like."),
  hearing: live("Hearing you", "you", "Hearing you.", ({ holding }) => (holding ? "Let go to get an answer." : "")),
  interrupted: live("Hearing you", "you", "Go ahead."),
  thinking: live("Thinking", "voice", "One moment.", ({ muted }) => (muted ? "You are muted." : ""), [...TALK, "stop"]),
  speaking: live("Speaking", "voice", "Speaking.", howToInterrupt, [...TALK, "stop"]),
  muted: live(
    "Muted", "warn", "Muted.", "Nothing is being heard. The microphone is still held by this page; End lets it go.",
    ["mute"]
  ),
  hold: live("Waiting for you", "you", "Hold to talk.", "Nothing is sent until you hold the button. Let go to get an answer."),
  ready: live("Ready", "voice", "Type a message.", "The microphone is off. Answers come as text."),
  slow: live("Slow connection", "warn", "Slow connection.", "Your words may arrive late."),
  reconnecting: live(
    "Reconnecting", "warn", "The connection dropped.",
    ({ attempt }) => `Trying again with a fresh pass, ${attempt} of 5. Nothing is being sent.`, []
  ),
  paused: live("Paused", "warn", "Paused by your device.", "A call or another app took the sound.", ["continue"]),

  ended: over("Ended", "none", "Ended.", whatItWas, AGAIN),
  "long-silence": over("Ended", "none", "Ended after a long silence.", whatItWas, AGAIN),
  "time-up": over(
    "Time is up", "warn", "Time is up.",
    (state) => `This session reached its limit of ${duration(state.details.limitSeconds)}. ${off(state)}`, AGAIN
  ),
  quota: over(
    "Allowance used", "warn", "Enough for now.", (state) => `You have used today's allowance. ${off(state)}`, WAIT,
    ({ details }) => `Next one at ${timeOfDay(details.tomorrow)}.`
  ),
  budget: over(
    "Ended", "warn", "Enough for one session.", (state) => `This session used what it was given. ${off(state)}`,
    AGAIN
  ),
  busy: over("Busy", "warn", "All lines are busy.", off, WAIT, ({ details }) =>
    details.retryAfter > 0 ? `Try again in ${details.retryAfter} seconds.` : "Try again in a moment.",
  ),
  "pass-expired": over(
    "Pass expired", "warn", "That pass has expired.",
    (state) => `Passes last five minutes and work once. ${off(state)}`, button("start", "Get a new one")
  ),

  denied: blocked(
    "Microphone blocked", "The microphone is blocked.",
    "This page asked for the microphone and the browser said no. Nothing was heard.", howToAllow
  ),
  "no-microphone": blocked(
    "No microphone", "No microphone found.", "Nothing was heard.",
    "Plug one in or check that your system shows one, then try again."
  ),
  "busy-microphone": blocked(
    "Microphone in use", "The microphone is in use.", "Nothing was heard.",
    "Another app may be holding it. Close that app, then try again."
  ),
  "lost-microphone": blocked(
    "Microphone gone", "The microphone went away.",
    "It was unplugged, or permission was withdrawn. Nothing more is being sent.",
    "Choose a microphone, then start again.", button("choose", "Choose a microphone")
  ),
  insecure: blocked(
    "Not secure", "This page needs a secure address.", "Browsers allow the microphone only over https.",
    "Open the https address.", button("secure", "Open the https address")
  ),
  "old-browser": blocked(
    "Not supported", "This browser cannot do live voice.", "The microphone is off.",
    "A current Chrome, Edge, Firefox or Safari can. Typing works here.", button("type", "Type instead")
  ),
  "signed-out": blocked(
    "Signed out", "Please sign in again.",
    (state) => `Your sign-in has expired, or this page may not start a session. ${off(state)}`,
    ({ details }) => details.message || "Sign in where you did before.", button("sign-in", "Sign in")
  ),
  "provider-down": blocked(
    "Not answering", "The speech service is not answering.", (state) => `It is not your connection. ${off(state)}`,
    "Try again in a minute."
  ),
  unreachable: blocked("Offline", "The relay cannot be reached.", off, "Check your connection, then try again."),
  policy: blocked(
    "Not allowed", "That is not allowed here.", off,
    ({ details }) => details.message || "The relay ended the session.", AGAIN
  ),
  error: blocked("Error", "Something went wrong.", off, whatToReport, AGAIN),
};

/** The row for a screen, with what depends on the state filled in. */
export function describe(screen, state) {
  const found = SCREENS[screen] ?? SCREENS.error;
  const say = (part = "") => (typeof part === "function" ? part(state) : part);
  const also = found.also
    .filter((action) => state.mode === "voice" || !TALK.includes(action))
    .map((action) => (action === "mute" && state.manual ? "hands-free" : action));
  return { ...found, hint: say(found.hint), remedy: say(found.remedy), also };
}

function howToAllow({ details }) {
  return details.allowedHere
    ? "Allow the microphone for this browser in your system's privacy settings, then try again."
    : "Open the site settings next to the address, allow the microphone, then try again.";
}

function howToInterrupt({ mode, manual, muted }) {
  if (mode === "text") return "The microphone is off.";
  if (manual) return "Hold the button to interrupt.";
  return muted ? "You are muted." : "Start talking to interrupt.";
}

function whatItWas(state) {
  const { seconds = 0, turns = 0 } = state.details;
  const length = `${clockText(seconds)}, ${turns} ${turns === 1 ? "turn" : "turns"}.`;
  return `${off(state)} ${length} The transcript stays until you close this tab.`;
}

function whatToReport({ details }) {
  if (details.reference) return `If you report this, give the reference ${details.reference}.`;
  return details.message || "Start again.";
}

function duration(seconds) {
  if (!seconds) return "time";
  const [count, unit] = seconds < 60 ? [seconds, "second"] : [Math.round(seconds / 60), "minute"];
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

function timeOfDay(date) {
  return date ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : "midnight UTC";
}
