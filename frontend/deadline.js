/** When the session ends, by the relay's clock and not the device's, which may be wrong. Pure. */

export class Deadline {
  /** `secondsLeft` of a session of `seconds`, both at `now` (milliseconds of any steady clock). */
  constructor(secondsLeft, seconds, now) {
    this.endsAt = now + secondsLeft * 1000;
    this.seconds = Math.max(seconds, secondsLeft);
  }

  secondsLeft(now) {
    return Math.max(0, (this.endsAt - now) / 1000);
  }

  /** How much of the session is left, 0 to 1. */
  share(now) {
    return this.seconds > 0 ? this.secondsLeft(now) / this.seconds : 0;
  }
}

/** `m:ss`. */
export function clockText(seconds) {
  const whole = Math.ceil(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}
