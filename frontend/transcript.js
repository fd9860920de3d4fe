/** Who said what, in order. Pure; `onChange(turn)` is called with each turn that is new or different. */

export class Transcript {
  constructor(onChange) {
    this.onChange = onChange;
    this.turns = [];
  }

  /** The turn with this id, added at the end if there is none. `who` is "you", "assistant" or "note". */
  turn(id, who) {
    const known = this.turns.findLast((turn) => turn.id === id);
    if (known) return known;
    const turn = { id, who, text: "", final: false, interrupted: false };
    this.turns.push(turn);
    this.onChange(turn);
    return turn;
  }

  append(id, who, delta) {
    const turn = this.turn(id, who);
    if (turn.final) return;
    turn.text += delta;
    this.onChange(turn);
  }

  /** The whole text of a turn. One that was interrupted keeps what was heard of it. */
  finish(id, who, text) {
    const turn = this.turn(id, who);
    if (turn.interrupted) return;
    turn.text = text;
    turn.final = true;
    this.onChange(turn);
  }

  /** Marks a turn as interrupted after `share` (0 to 1) of its text, and forgets the rest: nobody heard it. */
  interrupt(id, share) {
    const turn = this.turns.findLast((candidate) => candidate.id === id);
    if (!turn || turn.interrupted) return;
    turn.text = wholeWords(turn.text, Math.round(turn.text.length * Math.min(1, Math.max(0, share))));
    turn.interrupted = turn.final = true;
    this.onChange(turn);
  }

  /** Nothing more will come of the turns still open: the connection is gone. */
  close() {
    for (const turn of this.turns.filter(({ final }) => !final)) {
      turn.final = true;
      turn.interrupted = turn.who === "assistant";
      this.onChange(turn);
    }
  }

  /** Something the page has to say between two turns. */
  note(text) {
    this.finish(`note-${this.turns.length}`, "note", text);
  }

  /** How many turns were taken by either side. */
  get count() {
    return this.turns.filter((turn) => turn.who !== "note" && turn.text).length;
  }

  toText() {
    const names = { you: "You", assistant: "Assistant", note: "Note" };
    return this.turns
      .filter((turn) => turn.text)
      .map((turn) => `${names[turn.who]}: ${turn.text}${turn.interrupted ? " — interrupted" : ""}`)
      .join("\n");
  }
}

function wholeWords(text, length) {
  if (length >= text.length) return text;
  const end = text.lastIndexOf(" ", length);
  return text.slice(0, Math.max(0, end)).trimEnd();
}
