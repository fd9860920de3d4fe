/** When to try again after a lost connection: 0.5, 1, 2, 4, 8 s, each ± 20 %, then no more. Pure. */

const DELAYS = [500, 1000, 2000, 4000, 8000];
const SPREAD = 0.2;
const HEALTHY_MILLISECONDS = 30000;

export class Backoff {
  constructor({ now = () => performance.now(), random = Math.random } = {}) {
    this.now = now;
    this.random = random;
    this.attempt = 0;
    this.connectedAt = null;
  }

  connected() {
    this.connectedAt = this.now();
  }

  /** The delay in milliseconds before the next attempt, whose number is then in `attempt`; null if there is none. */
  lost() {
    // Counting for the whole life of a call would end a long one for no reason.
    if (this.connectedAt !== null && this.now() - this.connectedAt >= HEALTHY_MILLISECONDS) this.attempt = 0;
    this.connectedAt = null;
    if (this.attempt === DELAYS.length) return null;
    return DELAYS[this.attempt++] * (1 + SPREAD * (2 * this.random() - 1));
  }
}
