/**
 * The drawing of the two voices: the left half ripples with yours, the right with the assistant's. It is drawn only
 * while something moves. With reduced motion it is two bars that step four times a second.
 */

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

// Speech has an RMS of about 0.1 of full scale; the root lets quiet voices show.
const amplitudeOf = (level) => Math.min(1, Math.sqrt(level * 5)) * MOST;

class Side {
  constructor(path, outward) {
    this.path = path;
    this.outward = outward; // which way a bar grows: 1 to the right, -1 to the left
    this.target = this.amplitude = 0;
    this.breathes = false;
    this.cut = false;
  }

  /** Moves towards the target; false when there is nothing left to draw. */
  move(elapsed) {
    const time = this.target > this.amplitude ? RISE : this.cut ? CUT : FALL;
    this.amplitude += (this.target - this.amplitude) * (1 - Math.exp(-elapsed / time));
    return this.amplitude > 0.3 || this.target > 0 || this.breathes;
  }

  drawWave(now) {
    const breath = this.breathes ? BREATH * Math.sin(now * 0.001 * 2 * Math.PI * 0.3) : 0;
    let d = "M0 56";
    for (let i = 1; i <= POINTS; i++) {
      const x = i / POINTS;
      const taper = Math.sin(Math.PI * x) ** 2;
      const ripple = 0.6 * Math.sin(x * 25 - now * 0.009) + 0.4 * Math.sin(x * 41 + now * 0.013);
      const y = MIDDLE - taper * (this.amplitude * ripple + breath);
      d += `L${(x * WIDTH).toFixed(1)} ${y.toFixed(1)}`;
    }
    this.draw(d, this.amplitude > 0.3 || this.breathes);
  }

  drawBar() {
    const length = (this.target / MOST) * WIDTH;
    const from = this.outward > 0 ? 0 : WIDTH;
    if (length < 1) return this.draw(`M0 ${MIDDLE}H${WIDTH}`, false);
    this.draw(`M${from} ${MIDDLE}H${(from + this.outward * length).toFixed(0)}`, true);
  }

  draw(d, moving) {
    if (this.drawn === d) return;
    this.drawn = d;
    this.path.setAttribute("d", d);
    this.path.classList.toggle("moving", moving);
  }
}

export class Wire {
  constructor(youPath, assistantPath) {
    this.you = new Side(youPath, -1);
    this.assistant = new Side(assistantPath, 1);
    this.scheduled = false;
    this.last = 0;
    this.reduced = matchMedia("(prefers-reduced-motion: reduce)");
    this.reduced.addEventListener("change", () => this.applyMotion());
    this.applyMotion();
  }

  /** `side` is "you" or "assistant"; `level` an RMS from 0 to 1. */
  level(side, level) {
    if (!this.live) return;
    this[side].target = amplitudeOf(level);
    this.wake();
  }

  /** Which halves may move on a screen. */
  show(screen) {
    this.you.breathes = screen === "listening";
    this.assistant.cut = screen === "interrupted";
    this.live = LIVE.includes(screen);
    if (!this.live) this.you.target = this.you.amplitude = this.assistant.amplitude = 0;
    if (screen !== "speaking") this.assistant.target = 0;
    this.wake();
  }

  applyMotion() {
    clearInterval(this.stepper);
    const still = this.reduced.matches;
    for (const side of [this.you, this.assistant]) {
      side.path.classList.toggle("bar", still);
      side.drawBar();
    }
    if (still) this.stepper = setInterval(() => [this.you, this.assistant].forEach((side) => side.drawBar()), STEP);
    else this.wake();
  }

  wake() {
    if (this.scheduled || this.reduced.matches) return;
    this.scheduled = true;
    requestAnimationFrame((now) => this.frame(now));
  }

  frame(now) {
    this.scheduled = false;
    const elapsed = Math.min(100, now - this.last);
    this.last = now;
    for (const side of [this.you, this.assistant]) {
      if (side.move(elapsed)) this.wake();
      else side.amplitude = 0;
      side.drawWave(now);
    }
  }
}
