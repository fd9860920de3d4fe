/** Wires the page: what the person does goes to the call, what the call tells goes to the view. */

import { listMicrophones } from "./audio/capture.js";
import { Call } from "./call.js";
import { linesCountedHere, linesOfReceipt } from "./receipt.js";
import { IDLE, next, screenOf } from "./state.js";
import { Transcript } from "./transcript.js";
import { View } from "./view.js";

const TICK_MILLISECONDS = 250;
const ANNOUNCED_SECONDS = [60, 10];
const NOTHING_HEARD_MILLISECONDS = 6000;
const LEVEL_TEXT_MILLISECONDS = 3000;
const SILENT_LEVEL = 0.0005;
const GOOD_LEVEL = 0.01;

let state = IDLE;
let microphoneId = "";
let lastHeard = 0;
let loudest = 0;
let levelTextAt = 0;
let secondsLeftBefore = Infinity;
let retryTimer;
let silenceTold = false;

const provider = document.querySelector('meta[name="airlock-provider"]').content;

const view = new View({
  start: () => start("voice"),
  end: () => call.end(),
  cancel: () => call.cancel(),
  secure: () => location.assign(`https://${location.host}${location.pathname}`),
  type: () => {
    if (state.phase === "asking") call.cancel();
    start("text");
    view.focusMessage();
  },
  say: (text) => {
    if (["idle", "ended", "failed"].includes(state.phase)) start("text");
    call.say(text);
  },
  stop: () => call.stopSpeaking(),
  mute: () => call.mute(!state.muted),
  hold: (down) => call.hold(down),
  "hands-free": () => call.handsFree(),
  continue: () => call.resume(),
  microphone: (id) => {
    microphoneId = id;
    if (state.phase === "live" && state.mode === "voice") call.changeMicrophone(id);
  },
  copy: () => navigator.clipboard?.writeText(transcript.toText()).then(() => view.announce("Transcript copied.")),
  save,
});

const transcript = new Transcript((turn) => {
  view.turn(turn);
  if (turn.who === "assistant" && turn.final && turn.text && view.announcesReplies) view.announce(turn.text);
});

const call = new Call({
  getState: () => state,
  dispatch,
  transcript,
  tell: {
    pass: (pass) => view.ledger(pass.provider, pass.stores),
    started: (event) => view.ledger(event.provider, event.stores),
    level,
    notice: (text) => view.notice(text),
    microphone: (stream) => {
      microphoneId = stream.getAudioTracks()[0]?.getSettings().deviceId ?? microphoneId;
      refreshMicrophones();
    },
  },
});

function start(mode) {
  clearInterval(retryTimer);
  view.receipt(null);
  view.notice("");
  secondsLeftBefore = Infinity;
  lastHeard = Infinity;
  call.start(mode, microphoneId);
}

function dispatch(event) {
  const before = state;
  state = next(state, event);
  if (state === before) return;
  if (state.phase === "live" && before.phase !== "live") lastHeard = performance.now();
  view.show(screenOf(state), state);
  const finished = before.sounding && !state.sounding && state.phase === "live" && screenOf(state) === "listening";
  if (finished) view.announce("Assistant finished. Listening.");
  const over = state.phase === "ended" || state.phase === "failed";
  if (over) showReceipt();
  if (over && state.details.retryAfter > 0) countDown(state.details.retryAfter);
  showTime();
}

/** The relay's, if it sent one; a page that closes the connection itself hears no more and says what it counted. */
function showReceipt() {
  view.levelText("");
  view.notice("");
  if (call.receipt) view.receipt(linesOfReceipt(call.receipt));
  else if (state.details.seconds) view.receipt(linesCountedHere({ ...call.counters, seconds: state.details.seconds }));
}

/** A refusal that says when to come back: the button waits with the person. */
function countDown(seconds) {
  view.wait(seconds);
  retryTimer = setInterval(() => {
    seconds -= 1;
    view.wait(seconds);
    if (seconds <= 0) clearInterval(retryTimer);
  }, 1000);
}

function level(side, value) {
  view.level(side, value);
  if (side !== "you") return;
  const now = performance.now();
  loudest = Math.max(loudest, value);
  // Only unbroken silence tells of a wrong microphone; the assistant's turn and a muted microphone do not count.
  if (value > SILENT_LEVEL || screenOf(state) !== "listening") {
    lastHeard = now;
    silenceTold = false;
  } else if (now - lastHeard > NOTHING_HEARD_MILLISECONDS && !silenceTold) {
    silenceTold = true;
    view.notice("I cannot hear anything. Is the right microphone chosen?");
  }
  if (now - levelTextAt < LEVEL_TEXT_MILLISECONDS) return;
  view.levelText(`Microphone level: ${loudest > GOOD_LEVEL ? "good" : loudest > SILENT_LEVEL ? "low" : "none"}`);
  levelTextAt = now;
  loudest = 0;
}

function showTime() {
  const { deadline } = call;
  if (!deadline) return view.time(null, 0);
  const now = performance.now();
  const left = deadline.secondsLeft(now);
  view.time(left, deadline.share(now));
  for (const seconds of ANNOUNCED_SECONDS) {
    // Only when it is passed: a session that starts with less is no news.
    if (secondsLeftBefore !== Infinity && secondsLeftBefore > seconds && left <= seconds) {
      view.announce(seconds === 60 ? "One minute left." : `${seconds} seconds left.`);
    }
  }
  secondsLeftBefore = left;
}

async function refreshMicrophones() {
  view.microphones(await listMicrophones(), microphoneId);
}

function save() {
  const address = URL.createObjectURL(new Blob([transcript.toText()], { type: "text/plain" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = "transcript.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

setInterval(showTime, TICK_MILLISECONDS);
addEventListener("offline", () => call.offline());
addEventListener("pagehide", () => call.life && call.end());
navigator.mediaDevices?.addEventListener("devicechange", refreshMicrophones);
view.ledger(provider, "nothing");
view.show(screenOf(state), state);

// For tests and the curious: how far the page is and how much it moved. No token, and nothing that was said.
window.airlock = Object.freeze(
  Object.defineProperties(
    {},
    Object.fromEntries(
      Object.keys(call.counters)
        .map((name) => [name, { enumerable: true, get: () => call.counters[name] }])
        .concat([["state", { enumerable: true, get: () => screenOf(state) }]]),
    ),
  ),
);
