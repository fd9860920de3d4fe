/** Ripples with both voices, only while one moves. With reduced motion: bars that step four times a second. */

import { page } from "./view.js";

const WIDTH = 256;
const MOST = 46;
const POINTS = 96;
const RISE_MS = 60;
const FALL_MS = 240;
const CUT_MS = 40; // falls flat in about 120 ms when interrupted
const STEP_MS = 250;
const BREATH = 2;
const LIVE = ["listening", "hearing", "interrupted", "slow", "speaking", "thinking"]; // elsewhere the lines are still

// A bar grows from `inner`, the seal, outwards.
const you = { path: page["wire-you"], inner: WIDTH, target: 0, amplitude: 0 };
const assistant = { path: page["wire-assistant"], inner: 0, target: 0, amplitude: 0 };
const sides = { you, assistant };
const reduced = matchMedia("(prefers-reduced-motion: reduce)");
let live;
let scheduled;
let last = 0;

/** `level` is an RMS. Speech has about 0.1; the root lets quiet voices show. */
export function setLevel(side, level) {
	if (live) sides[side].target = Math.min(1, Math.sqrt(level * 5)) * MOST;
	wake();
}

export function showScreen(screen) {
	you.breathes = screen === "listening";
	assistant.cut = screen === "interrupted";
	live = LIVE.includes(screen);
	if (!live) you.target = you.amplitude = assistant.amplitude = 0;
	if (screen !== "speaking") assistant.target = 0;
	wake();
}

function wake() {
	scheduled ??= reduced.matches ? setTimeout(step, STEP_MS) : requestAnimationFrame(wave);
}

function step() {
	scheduled = null;
	for (const { path, inner, target } of [you, assistant]) {
		const length = Math.round((target / MOST) * WIDTH);
		draw(path, `M${inner} 0H${length ? Math.abs(inner - length) : WIDTH - inner}`, length > 0);
	}
}

function wave(now) {
	scheduled = null;
	const elapsed = Math.min(100, now - last);
	last = now;
	for (const side of [you, assistant]) {
		const time = side.target > side.amplitude ? RISE_MS : side.cut ? CUT_MS : FALL_MS;
		side.amplitude += (side.target - side.amplitude) * (1 - Math.exp(-elapsed / time));
		if (side.amplitude < 0.3 && !side.target) side.amplitude = 0;
		const moves = side.amplitude > 0 || side.breathes;
		if (moves) wake();
		const breath = side.breathes ? BREATH * Math.sin(now * 0.0006 * Math.PI) : 0;
		let d = "M0 0";
		for (let i = 1; i <= POINTS; i++) {
			const x = i / POINTS;
			const ripple = 0.6 * Math.sin(x * 25 - now * 0.009) + 0.4 * Math.sin(x * 41 + now * 0.013);
			const y = Math.sin(Math.PI * x) ** 2 * (side.amplitude * ripple + breath);
			d += `L${(x * WIDTH).toFixed(1)} ${y.toFixed(1)}`;
		}
		draw(side.path, d, moves);
	}
}

function draw(path, d, moves) {
	path.classList.toggle("moving", Boolean(moves));
	if (path.getAttribute("d") !== d) path.setAttribute("d", d);
}

reduced.onchange = wake;
step();
