/**
 * What is to be heard, in order, and how much of each item has been. It runs on the audio thread, so `read` allocates
 * nothing; it knows no audio graph, so the tests run it as it is.
 *
 * `emit(type, details)` is told: `started`, `finished`, `underrun`; item and samples played with each.
 */

import { WIRE_SAMPLES_PER_MS, float } from "./pcm.js";

const FIRST_THRESHOLD = 60 * WIRE_SAMPLES_PER_MS;
const THRESHOLD_STEP = 40 * WIRE_SAMPLES_PER_MS;
const LAST_THRESHOLD = 240 * WIRE_SAMPLES_PER_MS;
const MOST_WAITING = 300000 * WIRE_SAMPLES_PER_MS; // five minutes, 14 MB
const DECAY = 5 * WIRE_SAMPLES_PER_MS;

export class PlaybackQueue {
  constructor(emit) {
    this.emit = emit;
    // A linked list, because taking the first element of one costs the same however many wait.
    this.head = null;
    this.tail = null;
    this.waiting = 0;
    this.threshold = FIRST_THRESHOLD;
    this.running = false;
    /** The item being heard; between its chunks too, until it is finished or flushed. */
    this.item = null;
    this.itemPlayed = 0;
    this.totalPlayed = 0;
    this.underruns = 0;
    this.overflowed = 0;
    this.complete = new Set();
    this.lastSample = 0;
    this.decaying = 0;
  }

  /** Adds PCM16 samples of an item. Items are heard in the order in which they came; what is too much is left out. */
  push(item, samples) {
    if (samples.length === 0) return;
    if (this.waiting + samples.length > MOST_WAITING) {
      this.overflowed += samples.length;
      return;
    }
    const chunk = { item, samples, offset: 0, next: null };
    if (this.tail) this.tail.next = chunk;
    else this.head = chunk;
    this.tail = chunk;
    this.waiting += samples.length;
  }

  /** Says that no more samples of an item will come, so that its end is no underrun. */
  end(item) {
    this.complete.add(item);
    if (this.item === item && this.head?.item !== item) this.finish();
  }

  /** Fills a block of floats, with silence where there is nothing to play. */
  read(block) {
    let at = 0;
    if (this.running || this.mayStart()) {
      this.running = true;
      while (at < block.length && this.head) at = this.playHead(block, at);
      if (!this.head) this.stop();
    }
    this.decay(block, at);
  }

  /** Forgets everything that waits. Returns the item that was being heard and how much of it was. */
  flush() {
    const flushed = { item: this.item ?? this.head?.item ?? null, played: this.itemPlayed, dropped: this.waiting };
    this.head = this.tail = this.item = null;
    this.waiting = this.itemPlayed = 0;
    this.complete.clear();
    if (this.running) this.stop();
    return flushed;
  }

  mayStart() {
    return this.head !== null && (this.waiting >= this.threshold || this.complete.has(this.tail.item));
  }

  playHead(block, at) {
    const chunk = this.head;
    if (chunk.item !== this.item) this.begin(chunk.item);
    const count = Math.min(block.length - at, chunk.samples.length - chunk.offset);
    for (let i = 0; i < count; i++) block[at + i] = float(chunk.samples[chunk.offset + i]);
    this.lastSample = block[at + count - 1];
    chunk.offset += count;
    this.waiting -= count;
    this.itemPlayed += count;
    this.totalPlayed += count;
    if (chunk.offset === chunk.samples.length) {
      this.head = chunk.next;
      if (!this.head) this.tail = null;
      if (this.complete.has(chunk.item) && this.head?.item !== chunk.item) this.finish();
    }
    return at + count;
  }

  begin(item) {
    // The item before it was never declared complete; nothing of it can follow now.
    if (this.item !== null) this.finish();
    this.item = item;
    this.emit("started", { item, played: 0 });
  }

  finish() {
    this.emit("finished", { item: this.item, played: this.itemPlayed });
    this.complete.delete(this.item);
    this.item = null;
    this.itemPlayed = 0;
  }

  stop() {
    this.running = false;
    this.decaying = DECAY;
    if (this.item === null) return;
    this.underruns += 1;
    this.threshold = Math.min(LAST_THRESHOLD, this.threshold + THRESHOLD_STEP);
    this.emit("underrun", { item: this.item, played: this.itemPlayed });
  }

  /** Lets the last sample fall to zero over 5 ms, so that a stop makes no click, then fills with silence. */
  decay(block, at) {
    for (; at < block.length && this.decaying > 0; at++) block[at] = (this.lastSample * --this.decaying) / DECAY;
    block.fill(0, at);
  }
}
