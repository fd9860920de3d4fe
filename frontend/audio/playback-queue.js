/** What is to be heard, in order, and how much of each item has been. `read` allocates nothing. */

import { MILLISECOND, float } from "./pcm.js";

const FIRST_THRESHOLD = 60 * MILLISECOND;
const THRESHOLD_STEP = 40 * MILLISECOND;
const LAST_THRESHOLD = 240 * MILLISECOND;
const MOST_WAITING = 300000 * MILLISECOND; // five minutes, 14 MB
const DECAY = 5 * MILLISECOND;

export class PlaybackQueue {
	chunks = []; // {item, samples, offset}
	waiting = 0; // samples
	threshold = FIRST_THRESHOLD; // waiting when it starts
	running = false;
	item = null; // being heard; between its chunks too
	itemPlayed = 0;
	complete = new Set();
	lastSample = 0;
	decaying = 0;
	counters = { playedSamples: 0, underruns: 0, overflowedSamples: 0 };

	/** `emit(type, item)` tells `started` and `finished`. */
	constructor(emit) {
		this.emit = emit;
	}

	/** What is too much is left out. */
	push(item, samples) {
		if (samples.length === 0) return;
		if (this.waiting + samples.length > MOST_WAITING) {
			this.counters.overflowedSamples += samples.length;
			return;
		}
		this.chunks.push({ item, samples, offset: 0 });
		this.waiting += samples.length;
	}

	/** No more of an item comes, so its end is no underrun. */
	end(item) {
		this.complete.add(item);
		if (this.item === item && this.chunks[0]?.item !== item) this.finish();
	}

	/** Fills a block of floats. */
	read(block) {
		let at = 0;
		this.running ||= this.waiting >= this.threshold || this.complete.has(this.chunks.at(-1)?.item);
		if (this.running) {
			while (at < block.length && this.waiting > 0) at = this.playFirst(block, at);
			if (this.waiting === 0) this.stop();
		}
		// A stop makes no click: the last sample falls to zero.
		for (; at < block.length && this.decaying > 0; at++) block[at] = (this.lastSample * --this.decaying) / DECAY;
		block.fill(0, at);
	}

	/** Forgets what waits. Returns the item that was being heard and how much of it was. */
	flush() {
		const item = this.item ?? this.chunks[0]?.item ?? null;
		const played = this.itemPlayed;
		this.chunks = [];
		this.item = null;
		this.waiting = this.itemPlayed = 0;
		this.complete.clear();
		if (this.running) this.stop();
		return { item, played };
	}

	playFirst(block, at) {
		const { item, samples, offset } = this.chunks[0];
		if (item !== this.item) this.begin(item);
		const count = Math.min(block.length - at, samples.length - offset);
		for (let i = 0; i < count; i++) block[at + i] = float(samples[offset + i]);
		this.lastSample = block[at + count - 1];
		this.chunks[0].offset += count;
		this.waiting -= count;
		this.itemPlayed += count;
		this.counters.playedSamples += count;
		if (offset + count === samples.length) {
			this.chunks.shift();
			if (this.complete.has(item) && this.chunks[0]?.item !== item) this.finish();
		}
		return at + count;
	}

	begin(item) {
		// The item before it was never declared complete; nothing of it can follow now.
		if (this.item !== null) this.finish();
		this.item = item;
		this.emit("started", item);
	}

	finish() {
		this.emit("finished", this.item);
		this.complete.delete(this.item);
		this.item = null;
		this.itemPlayed = 0;
	}

	stop() {
		this.running = false;
		this.decaying = DECAY;
		if (this.item === null) return;
		this.counters.underruns += 1;
		this.threshold = Math.min(LAST_THRESHOLD, this.threshold + THRESHOLD_STEP);
	}
}
