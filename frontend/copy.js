/**
 * Every word the page says about its state. Short, present tense, no apology, and always whether the microphone is on.
 *
 * A row has: `word` (the header's), `tone`, `heading`, `hint`, `remedy` (what to do about a problem), `main` (the start/end
 * button) and `also` (the other actions). What depends on the state is a function of it.
 */

import { clockText } from "./deadline.js";

const START = { action: "start", text: "Start talking" };
const AGAIN = { action: "start", text: "Start again" };
const RETRY = { action: "start", text: "Try again" };
const END = { action: "end", text: "End" };
const CANCEL = { action: "cancel", text: "Cancel" };

const ifMuted = (text) => (state) => (state.muted ? `${text} You are muted.`.trim() : text);

export const SCREENS = {
  idle: {
    word: "Ready",
    heading: "Talk with the assistant.",
    hint: "Press start and your browser will ask for the microphone. Nothing is heard before that.",
    main: START,
    also: ["type"],
  },
  asking: {
    word: "Waiting for you",
    tone: "warn",
    heading: "Allow the microphone.",
    hint: "Your browser is asking now, usually near the address bar.",
    main: CANCEL,
    also: ["type"],
  },
  connecting: {
    word: "Connecting",
    tone: "warn",
    heading: "Connecting.",
    hint: (state) =>
      state.mode === "voice" ? "Your microphone is ready. Nothing is sent yet." : "The microphone stays off.",
    main: CANCEL,
  },
  listening: {
    word: "Listening",
    tone: "you",
    heading: "Listening.",
    hint: "Speak when you like. You can interrupt at any time.",
    main: END,
    also: ["mute", "hold"],
  },
  ready: {
    word: "Ready",
    tone: "voice",
    heading: "Type a message.",
    hint: "The microphone is off. Answers come as text.",
    main: END,
  },
  hearing: { word: "Hearing you", tone: "you", heading: "Hearing you.", hint: "", main: END, also: ["mute", "hold"] },
  thinking: {
    word: "Thinking",
    tone: "voice",
    heading: "One moment.",
    hint: ifMuted(""),
    main: END,
    also: ["stop", "mute", "hold"],
  },
  speaking: {
    word: "Speaking",
    tone: "voice",
    heading: "Speaking.",
    hint: (state) => {
      if (state.mode === "text") return "The microphone is off.";
      if (state.manual) return "Hold the button to interrupt.";
      return state.muted ? "You are muted." : "Start talking to interrupt.";
    },
    main: END,
    also: ["stop", "mute", "hold"],
  },
  interrupted: { word: "Hearing you", tone: "you", heading: "Go ahead.", hint: "", main: END, also: ["mute", "hold"] },
  hold: {
    word: "Waiting for you",
    tone: "you",
    heading: "Hold to talk.",
    hint: "Nothing is sent until you hold the button. Let go to get an answer.",
    main: END,
    also: ["mute", "hold"],
  },
  muted: {
    word: "Muted",
    tone: "warn",
    heading: "Muted.",
    hint: "Nothing is being heard. The microphone is still held by this page; End lets it go.",
    main: END,
    also: ["mute"],
  },
  slow: {
    word: "Slow connection",
    tone: "warn",
    heading: "Slow connection.",
    hint: "Your words may arrive late.",
    main: END,
    also: ["mute", "hold"],
  },
  reconnecting: {
    word: "Reconnecting",
    tone: "warn",
    heading: "The connection dropped.",
    hint: (state) => `Trying again with a fresh pass, ${state.attempt} of 5. Nothing is being sent.`,
    main: END,
  },
  paused: {
    word: "Paused",
    tone: "warn",
    heading: "Paused by your device.",
    hint: "A call or another app took the sound.",
    main: END,
    also: ["continue"],
  },
  ended: {
    word: "Ended",
    heading: "Ended.",
    hint: ({ mode, details }) =>
      `${microphoneOff(mode)} ${clockText(details.seconds ?? 0)}, ${turns(details.turns ?? 0)}. ` +
      "The transcript stays until you close this tab.",
    main: AGAIN,
    also: ["type"],
  },
  "time-up": {
    word: "Time is up",
    tone: "warn",
    heading: "Time is up.",
    hint: ({ mode, details }) =>
      `This session reached its limit of ${minutes(details.limitSeconds)}. ${microphoneOff(mode)}`,
    main: AGAIN,
    also: ["type"],
  },
  "long-silence": {
    word: "Ended",
    heading: "Ended after a long silence.",
    hint: ({ mode }) => `${microphoneOff(mode)} The transcript stays until you close this tab.`,
    main: AGAIN,
    also: ["type"],
  },
  denied: {
    word: "Microphone blocked",
    tone: "bad",
    heading: "The microphone is blocked.",
    hint: "This page asked for the microphone and the browser said no. Nothing was heard.",
    remedy: ({ details }) =>
      details.allowedHere
        ? "Allow the microphone for this browser in your system's privacy settings, then try again."
        : "Open the site settings next to the address, allow the microphone, then try again.",
    main: RETRY,
    also: ["type"],
  },
  "no-microphone": {
    word: "No microphone",
    tone: "bad",
    heading: "No microphone found.",
    hint: "Nothing was heard.",
    remedy: "Plug one in or check that your system shows one, then try again.",
    main: RETRY,
    also: ["type"],
  },
  "busy-microphone": {
    word: "Microphone in use",
    tone: "bad",
    heading: "The microphone is in use.",
    hint: "Nothing was heard.",
    remedy: "Another app may be holding it. Close that app, then try again.",
    main: RETRY,
    also: ["type"],
  },
  "lost-microphone": {
    word: "Microphone gone",
    tone: "bad",
    heading: "The microphone went away.",
    hint: "It was unplugged, or permission was withdrawn. Nothing more is being sent.",
    remedy: "Choose a microphone, then start again.",
    main: AGAIN,
    also: ["type"],
  },
  insecure: {
    word: "Not secure",
    tone: "bad",
    heading: "This page needs a secure address.",
    hint: "Browsers allow the microphone only over https.",
    remedy: "Open the https address of this page.",
    main: { action: "secure", text: "Open the https address" },
    also: ["type"],
  },
  "old-browser": {
    word: "Not supported",
    tone: "bad",
    heading: "This browser cannot do live voice.",
    hint: "The microphone is off.",
    remedy: "A current Chrome, Edge, Firefox or Safari can. Typing works here.",
    main: RETRY,
    also: ["type"],
  },
  quota: {
    word: "Allowance used",
    tone: "warn",
    heading: "Enough for now.",
    hint: ({ mode }) => `You have used your allowance. ${microphoneOff(mode)}`,
    remedy: ({ details }) =>
      details.retryAfter ? `Next one in ${clockText(details.retryAfter)}.` : "Come back later.",
    main: RETRY,
  },
  budget: {
    word: "Ended",
    tone: "warn",
    heading: "Enough for one session.",
    hint: ({ mode }) => `This session used what it was given. ${microphoneOff(mode)}`,
    main: AGAIN,
    also: ["type"],
  },
  busy: {
    word: "Busy",
    tone: "warn",
    heading: "All lines are busy.",
    hint: ({ mode }) => microphoneOff(mode),
    remedy: ({ details }) =>
      details.retryAfter > 0 ? `Try again in ${details.retryAfter} seconds.` : "You can try again now.",
    main: RETRY,
    also: ["type"],
  },
  "signed-out": {
    word: "Signed out",
    tone: "bad",
    heading: "Please sign in again.",
    hint: ({ mode }) => `This page may not start a session. ${microphoneOff(mode)}`,
    remedy: ({ details }) => details.message || "Your sign-in has expired.",
    main: RETRY,
  },
  "pass-expired": {
    word: "Pass expired",
    tone: "warn",
    heading: "That pass has expired.",
    hint: ({ mode }) => `Passes last five minutes and work once. ${microphoneOff(mode)}`,
    main: { action: "start", text: "Get a new one" },
    also: ["type"],
  },
  "provider-down": {
    word: "Not answering",
    tone: "bad",
    heading: "The speech service is not answering.",
    hint: ({ mode }) => `It is not your connection. ${microphoneOff(mode)}`,
    remedy: "Try again in a minute.",
    main: RETRY,
    also: ["type"],
  },
  unreachable: {
    word: "Offline",
    tone: "bad",
    heading: "The relay cannot be reached.",
    hint: ({ mode }) => microphoneOff(mode),
    remedy: "Check your connection, then try again.",
    main: RETRY,
    also: ["type"],
  },
  policy: {
    word: "Not allowed",
    tone: "bad",
    heading: "That is not allowed here.",
    hint: ({ mode }) => microphoneOff(mode),
    remedy: ({ details }) => details.message || "The relay ended the session.",
    main: AGAIN,
  },
  error: {
    word: "Error",
    tone: "bad",
    heading: "Something went wrong.",
    hint: ({ mode }) => microphoneOff(mode),
    remedy: ({ details }) =>
      details.reference ? `If you report this, give the reference ${details.reference}.` : details.message || "Start again.",
    main: AGAIN,
    also: ["type"],
  },
};

/** The row for a screen with every function of the state answered. */
export function describe(screen, state) {
  const row = SCREENS[screen] ?? SCREENS.error;
  const say = (part) => (typeof part === "function" ? part(state) : part ?? "");
  const voiceOnly = ["mute", "hold"];
  const also = (row.also ?? [])
    .filter((action) => state.mode === "voice" || !voiceOnly.includes(action))
    .map((action) => (action === "mute" && state.manual ? "hands-free" : action));
  return { ...row, tone: row.tone ?? "none", hint: say(row.hint), remedy: say(row.remedy), also };
}

function microphoneOff(mode) {
  return mode === "voice" ? "Microphone off." : "The microphone was not used.";
}

function turns(count) {
  return count === 1 ? "1 turn" : `${count} turns`;
}

function minutes(seconds) {
  if (!seconds) return "time";
  if (seconds < 60) return seconds === 1 ? "1 second" : `${seconds} seconds`;
  const whole = Math.round(seconds / 60);
  return whole === 1 ? "1 minute" : `${whole} minutes`;
}
