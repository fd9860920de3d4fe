/**
 * Notices a connection that has become slow or dead, by asking the relay for an answer. `bufferedAmount` cannot tell: the
 * first megabytes vanish into the system's buffers. Knows no socket.
 */

const EVERY = 2000;
const SLOW = 2000;
const DEAD = 8000;

export class Heartbeat {
  /** `send(t)` asks; `onSlow(on)` and `onDead()` are told. */
  constructor({ send, onSlow, onDead, now = () => performance.now() }) {
    Object.assign(this, { send, onSlow, onDead, now });
    this.unanswered = [];
    this.slow = false;
    this.timer = null;
  }

  start() {
    this.stop();
    this.timer = setInterval(() => this.beat(), EVERY / 4);
    this.ask();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    this.unanswered = [];
    this.setSlow(false);
  }

  /** Takes the `t` of an answer. Answers come in order, so every earlier question is answered too. */
  answered(t) {
    this.unanswered = this.unanswered.filter((asked) => asked > t);
    this.beat();
  }

  beat() {
    if (this.timer === null) return;
    const now = this.now();
    const waited = this.unanswered.length ? now - this.unanswered[0] : 0;
    if (waited > DEAD) {
      this.stop();
      this.onDead();
      return;
    }
    this.setSlow(waited > SLOW);
    if (now - this.askedAt >= EVERY) this.ask();
  }

  ask() {
    this.askedAt = this.now();
    this.unanswered.push(this.askedAt);
    this.send(this.askedAt);
  }

  setSlow(slow) {
    if (slow === this.slow) return;
    this.slow = slow;
    this.onSlow(slow);
  }
}
