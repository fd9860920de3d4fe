/** The page's elements. Shows what it is told and knows nothing of audio or connections. */

import { describe } from "./copy.js";
import { clockText } from "./deadline.js";
import { Wire } from "./wire.js";

const NAMES = { you: "You", assistant: "Assistant" };
const STILL_WORKING_MILLISECONDS = 4000;
const NOTICE_MILLISECONDS = 8000;
const element = (id) => document.getElementById(id);

export class View {
  /** `act` has one function for each thing a person can do; `main` gets the action the button stands for. */
  constructor(act) {
    this.wire = new Wire(element("wire-you"), element("wire-assistant"));
    this.screen = "idle";
    this.rows = new Map();
    this.button = "start";
    for (const name of ["continue", "stop", "mute", "hands-free", "type", "copy", "save"]) {
      element(name).addEventListener("click", () => act[name]());
    }
    element("main").addEventListener("click", () => act[this.button]());
    element("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      const text = element("message").value.trim();
      if (!text) return;
      element("message").value = "";
      act.say(text);
    });
    element("microphone").addEventListener("change", ({ target }) => act.microphone(target.value));
    listenForHolding(element("hold"), act);
    document.addEventListener("keydown", (event) => event.key === "Escape" && act.stop());
  }

  show(screen, state) {
    const changed = screen !== this.screen;
    this.screen = screen;
    const row = describe(screen, state);
    const stage = element("stage");
    stage.dataset.screen = screen;
    // The header's dot lies outside the card and has the same tone.
    document.body.dataset.tone = stage.dataset.tone = row.tone;
    setText(element("word"), row.word);
    setText(element("hint"), row.hint);
    setText(element("remedy"), row.remedy);
    this.showHeading(row.heading);
    this.showControls(row, state);
    this.wire.show(screen);
    if (!changed) return;
    this.announce(row.remedy ? "" : `${row.heading} ${row.hint}`.trim());
    clearTimeout(this.patience);
    if (screen === "thinking") {
      this.patience = setTimeout(() => setText(element("hint"), "Still working on it."), STILL_WORKING_MILLISECONDS);
    }
    // In a conversation the focus stays where it is; an end or an error is where reading starts anew.
    if (state.phase === "failed" || state.phase === "ended") element("heading").focus({ preventScroll: true });
  }

  showHeading(text) {
    const heading = element("heading");
    if (heading.textContent === text) return;
    heading.textContent = text;
    heading.classList.remove("fresh");
    void heading.offsetWidth; // starts the animation again
    heading.classList.add("fresh");
  }

  showControls({ main, also }, state) {
    this.button = main.action;
    const button = element("main");
    setText(button, main.text);
    button.classList.toggle("ends", main.action === "end" || main.action === "cancel");
    button.disabled = false;
    for (const name of ["continue", "stop", "mute", "hold", "hands-free", "type"]) {
      element(name).hidden = !also.includes(name);
    }
    setText(element("mute"), state.muted ? "Unmute" : "Mute");
    element("mute").setAttribute("aria-pressed", String(state.muted));
    element("hold").classList.toggle("down", state.holding);
    const busy = ["asking", "reconnecting"].includes(state.phase);
    element("send").disabled = element("message").disabled = busy;
  }

  /** Holds the button back for some seconds. They are counted on it, not in the alert, which would be read each time. */
  wait(seconds) {
    const button = element("main");
    button.disabled = seconds > 0;
    setText(button, seconds > 0 ? `Try again in ${clockText(seconds)}` : "Try again");
  }

  /** Says something once to people who listen to the page. */
  announce(text) {
    element("status").textContent = text;
  }

  get announcesReplies() {
    return element("announce").checked;
  }

  /** A remark under the hint, for some seconds. */
  notice(text) {
    clearTimeout(this.noticed);
    if (text) this.noticed = setTimeout(() => this.notice(""), NOTICE_MILLISECONDS);
    element("notice").textContent = text;
    element("notice").hidden = !text;
    if (text) this.announce(text);
  }

  /** `secondsLeft` is null where there is no end. */
  time(secondsLeft, share) {
    const text = secondsLeft === null ? "" : clockText(secondsLeft);
    setText(element("left"), text && `${text} left`);
    setText(element("seal-time"), text);
    const dash = `${(100 * (share ?? 0)).toFixed(1)} 100`;
    if (element("ring").getAttribute("stroke-dasharray") !== dash) element("ring").setAttribute("stroke-dasharray", dash);
  }

  level(side, level) {
    this.wire.level(side, level);
  }

  levelText(text) {
    setText(element("level"), text);
  }

  turn({ id, who, text, final, interrupted }) {
    const row = this.rows.get(id) ?? this.addRow(id, who);
    row.said.textContent = text || (final ? "" : "…");
    if (interrupted) row.said.append(" — ", withClass("span", "mark", "interrupted"));
    row.item.hidden = final && !text;
    row.item.classList.toggle("interim", !final);
    row.item.setAttribute("aria-busy", String(!final));
    element("copy").hidden = element("save").hidden = false;
  }

  addRow(id, who) {
    const item = withClass("li", `turn ${who}`);
    const said = withClass("span", "said");
    if (NAMES[who]) item.append(withClass("span", "who", NAMES[who]));
    item.append(said);
    element("turns").append(item);
    const row = { item, said };
    this.rows.set(id, row);
    return row;
  }

  microphones(devices, currentId) {
    element("microphones").hidden = devices.length < 2;
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
    const pairs = (lines ?? []).flatMap(([name, value]) => [withClass("dt", "", name), withClass("dd", "", value)]);
    element("receipt-lines").replaceChildren(...pairs);
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

function withClass(tag, className, text = "") {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.textContent = text;
  return node;
}

/** Leaves the element alone when nothing changed, so that screen readers are not told again. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
