/** Wires the page: what the person does goes to the conversation, what that tells goes to the view. */

import { Airlock, listMicrophones } from "./airlock.js";
import { linesCountedHere, linesOfReceipt } from "./receipt.js";
import { isAtRest } from "./state.js";
import { View } from "./view.js";

const TICK_MILLISECONDS = 250;
const ANNOUNCED_SECONDS = [60, 10];
const NOTHING_HEARD_MILLISECONDS = 6000;
const LEVEL_TEXT_MILLISECONDS = 3000;
const SILENT_LEVEL = 0.0001; // a quiet room has more
const GOOD_LEVEL = 0.01;

// `?raw=1` takes the microphone as it is, for tests that compare what arrived with what was played into it.
const airlock = new Airlock({ processing: new URLSearchParams(location.search).get("raw") !== "1" });
const { counters } = airlock;

let microphoneId = "";
let lastHeard = 0;
let loudest = 0;
let levelTextAt = 0;
let secondsLeftBefore = Infinity;
let retryTimer;
let silenceTold = false;
let before = { ...counters };
let stores = "nothing";

const view = new View({
  start: () => start(),
  end: () => airlock.end(),
  cancel: () => airlock.cancel(),
  secure: () => location.assign(`https://${location.host}${location.pathname}`),
  "sign-in": () => location.reload(),
  choose: () => view.chooseMicrophone() || start(),
  type: () => {
    if (airlock.state === "asking") airlock.cancel();
    start(true);
    view.focusMessage();
  },
  say: (text) => {
    if (isAtRest(airlock.facts)) start(true);
    airlock.say(text);
  },
  stop: () => airlock.stopSpeaking(),
  mute: () => airlock.mute(!airlock.facts.muted),
  hold: (down) => airlock.hold(down),
  "hands-free": () => airlock.handsFree(),
  continue: () => airlock.resume(),
  microphone: (id) => {
    microphoneId = id;
    if (/^live|connecting$/.test(airlock.facts.phase)) airlock.changeMicrophone(id);
  },
  copy: async () => {
    try {
      await navigator.clipboard.writeText(airlock.transcript);
      view.notice("Transcript copied.");
    } catch {
      view.notice("This browser does not let the page copy. Save works.");
    }
  },
  save,
});

const on = (type, listener) => airlock.addEventListener(type, ({ detail }) => listener(detail));
on("state", changed);
on("level", level);
on("notice", (text) => view.notice(text));
on("about", (told) => {
  view.ledger(told.provider, (stores = told.stores));
  showTime();
});
on("event", ({ direction, event }) => view.event(direction, event));
on("microphone", ({ deviceId }) => {
  microphoneId = deviceId ?? microphoneId;
  refreshMicrophones();
});
on("turn", (turn) => {
  view.turn(turn);
  if (turn.who === "note" || (turn.who === "assistant" && turn.final && view.announcesReplies)) view.announce(turn.text);
});

function start(text = false) {
  clearInterval(retryTimer);
  view.receipt(null);
  view.notice("");
  secondsLeftBefore = lastHeard = Infinity;
  before = { ...counters };
  airlock.start({ text, microphoneId, voice: view.voice });
}

function changed({ screen, facts, before: then }) {
  if (facts.phase === "live" && then.phase !== "live") lastHeard = performance.now();
  view.show(screen, facts);
  if (then.sounding && screen === "listening") view.announce("Assistant finished. Listening.");
  if (facts.muted !== then.muted && (facts.sounding || facts.thinking)) {
    view.announce(facts.muted ? "You are muted." : "You are no longer muted.");
  }
  if (isAtRest(facts)) over(facts);
  showTime();
  showFigures();
}

function over({ phase, problem, details }) {
  view.levelText("");
  if (phase === "ended") view.notice("");
  // A page that closes the connection itself hears no more of the relay, and says what it counted.
  if (airlock.receipt) view.receipt(linesOfReceipt(airlock.receipt));
  else if (details.seconds) view.receipt(linesCountedHere(details.seconds, before, counters, stores));
  if (problem === "quota") view.forbid();
  else if (details.retryAfter > 0) countDown(details.retryAfter);
}

/** A refusal that says when to come back: the button waits with the person. */
function countDown(seconds) {
  const until = performance.now() + seconds * 1000;
  const show = () => {
    const left = (until - performance.now()) / 1000;
    view.wait(left);
    if (left <= 0) clearInterval(retryTimer);
  };
  retryTimer = setInterval(show, TICK_MILLISECONDS);
  show();
}

function level({ side, level: value }) {
  view.level(side, value);
  if (side !== "you") return;
  const now = performance.now();
  loudest = Math.max(loudest, value);
  // Only unbroken silence tells of a wrong microphone; the assistant's turn and a muted microphone do not count.
  if (value > SILENT_LEVEL || airlock.state !== "listening") {
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
  const left = airlock.timeLeft;
  view.time(left);
  if (!left) return;
  for (const seconds of ANNOUNCED_SECONDS) {
    // Only when it is passed: a session that starts with less is no news.
    if (secondsLeftBefore !== Infinity && secondsLeftBefore > seconds && left.seconds <= seconds) {
      view.announce(seconds === 60 ? "One minute left." : `${seconds} seconds left.`);
    }
  }
  secondsLeftBefore = left.seconds;
}

function showFigures() {
  const waited = counters.lastAnswer?.milliseconds;
  const used = counters.usedTokens - before.usedTokens;
  view.figures([waited && `answered in ${(waited / 1000).toFixed(1)} s`, used && `${used} tokens`].filter(Boolean));
}

async function refreshMicrophones() {
  view.microphones(await listMicrophones(), microphoneId);
}

function save() {
  const address = URL.createObjectURL(new Blob([airlock.transcript], { type: "text/plain" }));
  const link = document.createElement("a");
  link.href = address;
  link.download = "transcript.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

setInterval(showTime, TICK_MILLISECONDS);
navigator.mediaDevices?.addEventListener("devicechange", refreshMicrophones);
view.ledger(document.querySelector('meta[name="airlock-provider"]').content, stores);
view.show(airlock.state, airlock.facts);
showTime();

// For tests and the curious. It holds no token.
window.airlock = airlock;
