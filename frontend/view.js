/** The page's elements. Shows what it is told and knows nothing of audio or connections. */

import { describe } from "./copy.js";
import { clockText } from "./deadline.js";
import { redacted } from "./redaction.js";
import { Wire } from "./wire.js";

const NAMES = { you: "You", assistant: "Assistant" };
const VOICES = ["alloy", "ash", "ballad", "cedar", "coral", "echo", "marin", "sage", "shimmer", "verse"];
const STILL_WORKING_MILLISECONDS = 4000;
const NOTICE_MILLISECONDS = 8000;
const MOST_EVENTS = 200;
const OPTIONAL = ["continue", "stop", "mute", "hold", "hands-free", "type"];
const element = (id) => document.getElementById(id);

export class View {
  #wire = new Wire(element("wire-you"), element("wire-assistant"));
  #screen = "idle";
  #rows = new Map();
  #events = []; // the latest last
  #action = "start"; // what the main button does
  #patience;
  #noticed;

  /** `act` has one function for each thing a person can do. */
  constructor(act) {
    for (const name of [...OPTIONAL.filter((name) => name !== "hold"), "copy", "save"]) {
      element(name).addEventListener("click", () => act[name]());
    }
    // The second click of a double one would undo the first: the button means something else by then.
    element("main").addEventListener("click", ({ detail }) => detail < 2 && act[this.#action]());
    element("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = element("message").value.trim();
      element("message").value = "";
      if (text) act.say(text);
    });
    element("microphone").addEventListener("change", ({ target }) => act.microphone(target.value));
    element("voice").append(...VOICES.map((name) => new Option(name, name)));
    element("events").addEventListener("toggle", () => this.#showEvents());
    element("shortcuts").addEventListener("change", ({ target }) => document.body.classList.toggle("keys", target.checked));
    listenForHolding(element("hold"), act);
    listenForKeys(act, () => element("shortcuts").checked);
  }

  get voice() {
    return element("voice").value;
  }

  get announcesReplies() {
    return element("announce").checked;
  }

  show(screen, facts) {
    const changed = screen !== this.#screen;
    this.#screen = screen;
    const row = describe(screen, facts);
    const stage = element("stage");
    stage.dataset.screen = screen;
    stage.dataset.mode = facts.mode;
    // The header's dot lies outside the card and has the same tone.
    document.body.dataset.tone = stage.dataset.tone = row.tone;
    setText(element("word"), row.word);
    if (changed || screen !== "thinking") setText(element("hint"), row.hint);
    setText(element("remedy"), row.remedy);
    this.#showHeading(row.heading);
    this.#showControls(row, facts);
    this.#wire.show(screen);
    if (!changed) return;
    this.announce(row.remedy ? "" : `${row.heading} ${row.hint}`.trim());
    clearTimeout(this.#patience);
    if (screen === "thinking") {
      this.#patience = setTimeout(() => setText(element("hint"), "Still working on it."), STILL_WORKING_MILLISECONDS);
    }
    // In a conversation the focus stays where it is; an end or an error is where reading starts anew.
    if (["failed", "ended"].includes(facts.phase)) element("heading").focus({ preventScroll: true });
  }

  #showHeading(text) {
    const heading = element("heading");
    if (heading.textContent === text) return;
    heading.textContent = text;
    heading.classList.remove("fresh");
    void heading.offsetWidth; // starts the animation again
    heading.classList.add("fresh");
  }

  #showControls({ main, also }, { muted, holding, phase }) {
    this.#action = main.action;
    const button = element("main");
    setText(button, main.text);
    button.className = ["end", "cancel"].includes(main.action) ? "ends" : "primary";
    button.disabled = false;
    for (const name of OPTIONAL) this.#reveal(element(name), also.includes(name));
    const mute = element("mute");
    setText(mute, muted ? "Unmute" : "Mute");
    mute.classList.toggle("primary", muted);
    // Either the name says what a press does, or the state is told beside it; both would contradict each other.
    if (muted) mute.removeAttribute("aria-pressed");
    else mute.setAttribute("aria-pressed", "false");
    element("hold").classList.toggle("down", holding);
    element("send").disabled = element("message").disabled = ["asking", "reconnecting"].includes(phase);
  }

  /** A control that goes leaves its focus where another press does nothing. */
  #reveal(control, shown) {
    if (!shown && control.contains(document.activeElement)) element("heading").focus({ preventScroll: true });
    control.hidden = !shown;
  }

  /** Holds the button back for some seconds. They are counted on it, not in the alert, which would be read each time. */
  wait(seconds) {
    element("main").disabled = element("send").disabled = seconds > 0;
    setText(element("main"), seconds > 0 ? `Try again in ${clockText(seconds)}` : "Try again");
  }

  /** Until a time that the remedy names; whoever stays on the page that long presses reload. */
  forbid() {
    element("main").disabled = element("send").disabled = true;
  }

  /** True if there is one to choose; the button then starts with it. */
  chooseMicrophone() {
    if (element("microphones").hidden) return false;
    this.#action = "start";
    setText(element("main"), "Start again");
    element("microphone").focus();
    return true;
  }

  /** Says something once to people who listen to the page. */
  announce(text) {
    element("status").textContent = text;
  }

  /** A remark under the hint, for some seconds. */
  notice(text) {
    clearTimeout(this.#noticed);
    if (text) this.#noticed = setTimeout(() => this.notice(""), NOTICE_MILLISECONDS);
    element("notice").textContent = text;
    element("notice").hidden = !text;
    if (text) this.announce(text);
  }

  /** `left` is null where there is no end. */
  time(left) {
    const text = left ? clockText(left.seconds) : "";
    setText(element("left"), text && `${text} left`);
    setText(element("seal-time"), text);
    const dash = `${(100 * (left?.share ?? 0)).toFixed(1)} 100`;
    const ring = element("ring");
    if (ring.getAttribute("stroke-dasharray") !== dash) ring.setAttribute("stroke-dasharray", dash);
  }

  figures(parts) {
    setText(element("figures"), parts.join(" · "));
  }

  level(side, level) {
    this.#wire.level(side, level);
  }

  levelText(text) {
    setText(element("level"), text);
  }

  turn({ id, who, text, final, interrupted }) {
    const composer = element("composer");
    const inSight = composer.getBoundingClientRect().bottom <= innerHeight;
    const row = this.#rows.get(id) ?? this.#addRow(id, who);
    row.said.textContent = text || (final ? "" : "…");
    if (interrupted) row.said.append(" — ", make("span", "mark", "interrupted"));
    row.item.hidden = final && !text;
    row.item.classList.toggle("interim", !final);
    row.item.setAttribute("aria-busy", String(!final));
    element("copy").hidden = element("save").hidden = false;
    if (inSight) composer.scrollIntoView({ block: "nearest" }); // who types goes on seeing the field
  }

  #addRow(id, who) {
    const item = make("li", `turn ${who}`);
    const said = make("span", "said");
    if (NAMES[who]) item.append(make("span", "who", NAMES[who]));
    item.append(said);
    element("turns").append(item);
    const row = { item, said };
    this.#rows.set(id, row);
    return row;
  }

  /** One line for many of a kind: audio comes by the dozen. */
  event(direction, event) {
    const last = this.#events.at(-1);
    if (last?.type === event.type && last.direction === direction) {
      last.count += 1;
      if (element("events").open) setText(last.line.firstChild, labelOf(last));
      return;
    }
    const at = new Date().toLocaleTimeString([], { hour12: false });
    const entry = { at, direction, type: event.type, count: 1, text: redacted(event) };
    entry.line = make("li");
    entry.line.append(make("span", "type", labelOf(entry)), ` ${entry.text}`);
    this.#events.push(entry);
    if (this.#events.length > MOST_EVENTS) this.#events.shift().line.remove();
    if (element("events").open) element("event-lines").prepend(entry.line);
  }

  #showEvents() {
    for (const entry of this.#events) entry.line.firstChild.textContent = labelOf(entry);
    element("event-lines").replaceChildren(...this.#events.map(({ line }) => line).reverse());
  }

  microphones(devices, currentId) {
    this.#reveal(element("microphones"), devices.length > 1);
    const select = element("microphone");
    select.replaceChildren(...devices.map(({ deviceId, label }) => new Option(label, deviceId)));
    select.value = currentId ?? devices[0]?.deviceId ?? "";
  }

  /** What is true of this deployment, in the page's words. */
  ledger(provider, stores) {
    const sentenceStart = provider.charAt(0).toUpperCase() + provider.slice(1);
    element("path").textContent = `This browser → this relay → ${provider}. Nowhere else.`;
    const kept = stores === "nothing" ? "No audio. No transcript." : `The relay keeps: ${stores}.`;
    element("kept").textContent =
      `${kept} The text above lives in this tab only. ${sentenceStart}'s own retention rules apply there.`;
  }

  /** `lines` is a list of `[name, value]`; null hides the receipt. */
  receipt(lines) {
    element("receipt").hidden = !lines;
    element("receipt-lines").replaceChildren(
      ...(lines ?? []).flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]),
    );
  }

  focusMessage() {
    element("message").focus();
  }
}

/** Pressed as long as the pointer or the key is down, wherever the pointer goes and whatever takes it away. */
function listenForHolding(button, act) {
  const down = () => act.hold(true);
  const up = () => act.hold(false);
  const isPress = (event) => event.key === " " || event.key === "Enter";
  button.addEventListener("pointerdown", (event) => {
    button.setPointerCapture(event.pointerId);
    down();
  });
  for (const type of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) button.addEventListener(type, up);
  button.addEventListener("keydown", (event) => {
    if (!isPress(event)) return;
    event.preventDefault();
    if (!event.repeat) down();
  });
  button.addEventListener("keyup", (event) => isPress(event) && up());
  button.addEventListener("contextmenu", (event) => event.preventDefault()); // a long touch
  addEventListener("blur", up);
  document.addEventListener("visibilitychange", () => document.hidden && up());
}

/** Escape always; single keys only for who asked for them, and not where they mean something else. */
function listenForKeys(act, areOn) {
  const isFree = ({ target, ctrlKey, altKey, metaKey }) =>
    areOn() && !ctrlKey && !altKey && !metaKey && !target.closest("input, select, button, summary");
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") act.stop();
    if (event.key === "Enter" && event.repeat) event.preventDefault(); // a key held down is one press
    if (event.repeat || !isFree(event)) return;
    if (event.key.toLowerCase() === "m") act.mute();
    if (event.key === " ") act.hold(true);
  });
  document.addEventListener("keyup", (event) => event.key === " " && isFree(event) && act.hold(false));
  // A page scrolls by Space.
  document.addEventListener("keypress", (event) => event.key === " " && isFree(event) && event.preventDefault());
}

function labelOf({ at, direction, type, count }) {
  return `${at} ${direction === "in" ? "←" : "→"} ${type}${count > 1 ? ` × ${count}` : ""}`;
}

function make(tag, className = "", text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.textContent = text;
  return node;
}

/** Leaves the element alone when nothing changed, so that screen readers are not told again. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
