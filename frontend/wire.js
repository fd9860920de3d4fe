/**
 * The drawing of the two voices: the left half ripples with yours, the right with the assistant's. It is drawn only
 * while something moves. With reduced motion it is two bars that step four times a second.
 */

import { page } from "./view.js";

const WIDTH = 256;
const MIDDLE = 56;
const MOST = 46;
const POINTS = 96;
const RISE = 60; // milliseconds
const FALL = 240;
const CUT = 40; // falls flat in about 120 ms when interrupted
const STEP = 250;
const BREATH = 2;
const LIVE = ["listening", "hearing", "interrupted", "slow", "speaking", "thinking"]; // elsewhere the lines are still

const side = (id, inner) => ({ path: page[id], inner, target: 0, amplitude: 0, fall: FALL, breathes: false });
// A bar grows from the seal outwards.
const sides = { you: side("wire-you", WIDTH), assistant: side("wire-assistant", 0) };
const { you, assistant } = sides;
const reduced = matchMedia("(prefers-reduced-motion: reduce)");
let live;
let scheduled;
let stepper;
let last = 0;

/** `level` is an RMS from 0 to 1. Speech has about 0.1; the root lets quiet voices show. */
export function setLevel(name, level) {
  if (live) sides[name].target = Math.min(1, Math.sqrt(level * 5)) * MOST;
  wake();
}

/** Says which halves may move on a screen. */
export function showScreen(screen) {
  you.breathes = screen === "listening";
  assistant.fall = screen === "interrupted" ? CUT : FALL;
  live = LIVE.includes(screen);
  if (!live) you.target = you.amplitude = assistant.amplitude = 0;
  if (screen !== "speaking") assistant.target = 0;
  wake();
}

function applyMotion() {
  clearInterval(stepper);
  for (const { path } of [you, assistant]) path.classList.toggle("bar", reduced.matches);
  drawBars();
  if (reduced.matches) stepper = setInterval(drawBars, STEP);
  else wake();
}

function drawBars() {
  for (const { path, inner, target } of [you, assistant]) {
    const length = Math.round((target / MOST) * WIDTH);
    draw(path, `M${inner} ${MIDDLE}H${length ? Math.abs(inner - length) : WIDTH - inner}`, length > 0);
  }
}

function wake() {
  if (!reduced.matches) scheduled ??= requestAnimationFrame(frame);
}

function frame(now) {
  scheduled = null;
  const elapsed = Math.min(100, now - last);
  last = now;
  for (const side of [you, assistant]) {
    const { path, target, breathes } = side;
    const time = target > side.amplitude ? RISE : side.fall;
    side.amplitude += (target - side.amplitude) * (1 - Math.exp(-elapsed / time));
    if (side.amplitude < 0.3 && !target) side.amplitude = 0;
    const moves = side.amplitude > 0 || breathes;
    if (moves) wake();
    const breath = breathes ? BREATH * Math.sin(now * 0.001 * 2 * Math.PI * 0.3) : 0;
    let d = `M0 ${MIDDLE}`;
    for (let i = 1; i <= POINTS; i++) {
      const x = i / POINTS;
      const ripple = 0.6 * Math.sin(x * 25 - now * 0.009) + 0.4 * Math.sin(x * 41 + now * 0.013);
      const y = MIDDLE - Math.sin(Math.PI * x) ** 2 * (side.amplitude * ripple + breath);
      d += `L${(x * WIDTH).toFixed(1)} ${y.toFixed(1)}`;
    }
    draw(path, d, moves);
  }
}

function draw(path, d, moving) {
  if (path.getAttribute("d") === d) return;
  path.setAttribute("d", d);
  path.classList.toggle("moving", moving);
}

reduced.addEventListener("change", applyMotion);
applyMotion();
