/** What the person does goes to the library, what that tells goes to the view. */

import { Airlock, listMicrophones } from "./airlock.js";
import { WIRE_RATE } from "./audio/pcm.js";
import { clockText, linesOfReceipt } from "./copy.js";
import { isAtRest } from "./state.js";
import { announce, event, ledger, microphones, notice, page, receipt, show, time, turn, write } from "./view.js";
import { setLevel, showScreen } from "./wire.js";

const TICK_MS = 250;
const NOTHING_HEARD_MS = 6000;
const LEVEL_TEXT_MS = 3000;
const SILENT_LEVEL = 0.0001; // a quiet room has more
const GOOD_LEVEL = 0.01;

// `?raw=1` takes the microphone as it is, for tests that compare.
const airlock = new Airlock({ processing: new URLSearchParams(location.search).get("raw") !== "1" });
const { counters } = airlock;

let microphoneId = "";
let lastHeard;
let loudest = 0;
let levelTextAt = 0;
let retryTimer;
let about = { provider: page.provider.content, stores: "nothing" };

function start(text) {
	clearTimeout(retryTimer);
	receipt([]);
	notice("");
	airlock.start({ text, microphoneId, voice: page.voice.value });
}

const ACTIONS = {
	start,
	end: () => airlock.end(),
	cancel: () => airlock.cancel(),
	type,
	secure: () => location.assign(`https://${location.host}${location.pathname}`),
	"sign-in": () => location.reload(),
	choose() {
		if (page.microphone.hidden) return start();
		page.main.value = "start";
		write({ main: "Start again" });
		page.microphone.focus();
	},
};
// The second click of a double one would undo the first.
page.main.onclick = ({ detail }) => detail < 2 && ACTIONS[page.main.value]();

function type() {
	if (airlock.state === "asking") airlock.cancel();
	start(true);
	page.message.focus();
}

page.type.onclick = type;
page.continue.onclick = () => airlock.resume();
page["hands-free"].onclick = () => airlock.handsFree();
const stop = (page.stop.onclick = () => airlock.stopSpeaking());
const mute = (page.mute.onclick = () => airlock.mute(!airlock.facts.muted));
page.microphone.onchange = () => {
	microphoneId = page.microphone.value;
	if (/live|connecting/.test(airlock.facts.phase)) airlock.changeMicrophone(microphoneId);
};
page.composer.onsubmit = (submit) => {
	submit.preventDefault();
	const text = page.message.value.trim();
	page.message.value = "";
	if (!text) return;
	if (isAtRest(airlock.facts)) start(true);
	airlock.say(text);
};
page.copy.onclick = async () => {
	try {
		await navigator.clipboard.writeText(airlock.transcript);
		notice("Transcript copied.");
	} catch {
		notice("This browser does not let the page copy. Save works.");
	}
};
page.save.onclick = () => {
	const href = URL.createObjectURL(new Blob([airlock.transcript], { type: "text/plain" }));
	Object.assign(document.createElement("a"), { href, download: "transcript.txt" }).click();
	setTimeout(URL.revokeObjectURL, 1000, href);
};

// Held until pointer or key is let go or taken away.
const { hold } = page;
const letGo = () => airlock.hold(false);
hold.onpointerdown = ({ pointerId }) => {
	hold.setPointerCapture(pointerId);
	airlock.hold(true);
};
hold.onpointerup = hold.onpointercancel = hold.onlostpointercapture = hold.onblur = letGo;
hold.oncontextmenu = (touch) => touch.preventDefault(); // a long one
addEventListener("blur", letGo);
document.addEventListener("visibilitychange", () => document.hidden && letGo());

// Escape always; single keys only for who asked for them (WCAG 2.1.4), and not where they mean something else.
document.onkeydown = document.onkeyup = (press) => {
	const { type, key, repeat, target, ctrlKey, altKey, metaKey } = press;
	const down = type === "keydown";
	const isElsewhere = ctrlKey || altKey || metaKey || target.closest("input, select, button, summary");
	const isKey = page.shortcuts.checked && !isElsewhere;
	const holds = target === hold ? [" ", "Enter"].includes(key) : isKey && key === " ";
	if (down && key === "Escape") stop();
	if (repeat && key === "Enter") press.preventDefault(); // is still one press
	if (holds) press.preventDefault(); // a page scrolls by Space
	if (repeat) return;
	if (holds) airlock.hold(down);
	if (isKey && down && key.toLowerCase() === "m") mute();
};

const showTime = () => time(airlock.timeLeft);
const on = (name, listener) => airlock.addEventListener(name, ({ detail }) => listener(detail));
on("level", level);
on("notice", notice);
on("event", (told) => {
	event(told);
	const { type, seconds_left: left } = told.event;
	if (type === "airlock.session.expiring") announce(`${left} seconds left.`);
});
on("about", (told) => {
	ledger((about = told));
	showTime();
});
const refreshMicrophones = async () => microphones(await listMicrophones(), microphoneId);
on("microphone", ({ deviceId }) => {
	microphoneId = deviceId ?? microphoneId;
	refreshMicrophones();
});
on("turn", (said) => {
	turn(said);
	if (said.who === "note" || (said.who === "assistant" && said.final && page.announce.checked)) announce(said.text);
});
on("state", ({ screen, facts, before: then }) => {
	if (facts.phase === "live" && then.phase !== "live") lastHeard = performance.now();
	show(screen, facts);
	showScreen(screen);
	if (then.sounding && screen === "listening") announce("Assistant finished. Listening.");
	if (facts.muted !== then.muted && (facts.sounding || facts.thinking)) {
		announce(facts.muted ? "You are muted." : "You are no longer muted.");
	}
	if (isAtRest(facts)) over(facts);
	const { lastAnswer, usedTokens } = counters;
	const waited = lastAnswer?.milliseconds && `answered in ${(lastAnswer.milliseconds / 1000).toFixed(1)} s`;
	write({ figures: [waited, usedTokens && `${usedTokens} tokens`].filter(Boolean).join(" · ") });
	showTime();
});

function over({ phase, problem, details: { seconds, retryAfter } }) {
	write({ level: "" });
	if (phase === "ended") notice("");
	// Whoever closes the connection hears no more of the relay.
	const counting = {
		counted_by: "this page",
		duration_seconds: seconds,
		audio_in_seconds: counters.sentSamples / WIRE_RATE,
		audio_out_seconds: counters.receivedSamples / WIRE_RATE,
		tokens: { total: counters.usedTokens },
		stores: about.stores,
	};
	if (airlock.receipt || seconds) receipt(linesOfReceipt(airlock.receipt ?? counting));
	if (problem === "quota") page.main.disabled = page.send.disabled = true;
	else if (retryAfter > 0) countDown(performance.now() + retryAfter * 1000);
}

/** The button counts: the alert would be read out each time. */
function countDown(until) {
	const left = (until - performance.now()) / 1000;
	page.main.disabled = page.send.disabled = left > 0;
	write({ main: left > 0 ? `Try again in ${clockText(left)}` : "Try again" });
	if (left > 0) retryTimer = setTimeout(countDown, TICK_MS, until);
}

function level({ side, level }) {
	setLevel(side, level);
	if (side !== "you") return;
	const now = performance.now();
	loudest = Math.max(loudest, level);
	// Only unbroken silence tells of a wrong microphone.
	if (level > SILENT_LEVEL || airlock.state !== "listening") lastHeard = now;
	else if (now - lastHeard > NOTHING_HEARD_MS) {
		lastHeard = Infinity; // said once
		notice("I cannot hear anything. Is the right microphone chosen?");
	}
	if (now - levelTextAt < LEVEL_TEXT_MS) return;
	write({ level: `Microphone level: ${loudest > GOOD_LEVEL ? "good" : loudest > SILENT_LEVEL ? "low" : "none"}` });
	levelTextAt = now;
	loudest = 0;
}

setInterval(showTime, TICK_MS);
navigator.mediaDevices?.addEventListener("devicechange", refreshMicrophones);
ledger(about);
show(airlock.state, airlock.facts);
showTime();

// For tests and the curious. It holds no token.
window.airlock = airlock;
