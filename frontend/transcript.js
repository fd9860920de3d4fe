/** Who said what, in order. Pure. */

export const NAMES = { you: "You", assistant: "Assistant", note: "Note" };

export class Transcript {
	turns = [];

	constructor(onChange) {
		this.change = (turn, fields) => onChange(Object.assign(turn, fields));
	}

	find(id) {
		return this.turns.findLast((turn) => turn.id === id);
	}

	/** Adds it at the end if there is none. */
	turn(id, who) {
		const known = this.find(id);
		if (known) return known;
		const turn = { id, who, text: "", final: false, interrupted: false };
		this.turns.push(turn);
		this.change(turn);
		return turn;
	}

	append(id, who, delta) {
		const turn = this.turn(id, who);
		if (!turn.final) this.change(turn, { text: turn.text + delta });
	}

	/** One that was interrupted keeps what was heard of it. */
	finish(id, who, text) {
		const turn = this.turn(id, who);
		if (!turn.interrupted) this.change(turn, { text, final: true });
	}

	/** Keeps of a turn the share (0 to 1) that was heard, in whole words. */
	interrupt(id, share) {
		const turn = this.find(id);
		if (!turn || turn.interrupted) return;
		const { text } = turn;
		const heard = Math.round(text.length * share);
		const kept = heard < text.length ? text.slice(0, Math.max(0, text.lastIndexOf(" ", heard))).trimEnd() : text;
		this.change(turn, { text: kept, interrupted: true, final: true });
	}

	/** The connection is gone. */
	close() {
		for (const turn of this.turns) {
			if (!turn.final) this.change(turn, { final: true, interrupted: turn.who === "assistant" });
		}
	}

	note(text) {
		this.finish(`note-${this.turns.length}`, "note", text);
	}

	get count() {
		return this.turns.filter((turn) => turn.who !== "note" && turn.text).length;
	}

	toText() {
		return this.turns
			.filter((turn) => turn.text)
			.map((turn) => `${NAMES[turn.who]}: ${turn.text}${turn.interrupted ? " — interrupted" : ""}`)
			.join("\n");
	}
}
