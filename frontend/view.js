/** The page's elements. Shows what it is told. */

import { clockText, describe } from "./copy.js";
import { redacted } from "./redaction.js";
import { NAMES } from "./transcript.js";

const STILL_WORKING_MS = 4000;
const NOTICE_MS = 8000;
const MOST_EVENTS = 200;

export const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((node) => [node.id, node]));

const rows = new Map(); // of the transcript
let shown;
let latest = {}; // event of the inspector
let patience;
let noticed;

/** Texts by id. One that stays the same is left alone: screen readers would be told again. */
export function write(texts) {
	for (const [id, text] of Object.entries(texts)) if (page[id].textContent !== text) page[id].textContent = text;
}

export const announce = (text) => (page.status.textContent = text);

export function show(screen, facts) {
	const { tone, word, heading, hint, remedy, main, also } = describe(screen, facts);
	const { muted, holding, phase, mode } = facts;
	const changed = screen !== shown;
	shown = screen;
	Object.assign(page.stage.dataset, { screen, mode });
	document.body.style.setProperty("--tone", `var(--${tone})`);
	if (page.heading.textContent !== heading) page.heading.replaceChildren(make("span", "fresh", heading));
	write({ word, remedy, main: main.text, mute: muted ? "Unmute" : "Mute" });
	const className = ["end", "cancel"].includes(main.action) ? "ends" : "primary";
	Object.assign(page.main, { className, value: main.action, disabled: false });
	for (const button of page.stage.querySelectorAll("button:not(#main)")) reveal(button, also.includes(button.id));
	page.mute.classList.toggle("primary", muted);
	// Either the name says what a press does, or the state is told beside it, never both.
	page.mute.ariaPressed = muted ? null : "false";
	page.hold.classList.toggle("down", holding);
	page.send.disabled = page.message.disabled = ["asking", "reconnecting"].includes(phase);
	if (changed || screen !== "thinking") write({ hint });
	if (!changed) return;
	announce(remedy ? "" : `${heading} ${hint}`.trim());
	clearTimeout(patience);
	if (screen === "thinking") patience = setTimeout(write, STILL_WORKING_MS, { hint: "Still working on it." });
	// Where reading starts anew.
	if (["failed", "ended"].includes(phase)) focusHeading();
}

const focusHeading = () => page.heading.focus({ preventScroll: true });

/** A control that goes leaves the focus where another press does nothing. */
function reveal(control, wanted) {
	if (!wanted && control === document.activeElement) focusHeading();
	control.hidden = !wanted;
}

export function notice(text) {
	clearTimeout(noticed);
	write({ notice: text });
	page.notice.hidden = !text;
	if (!text) return;
	noticed = setTimeout(notice, NOTICE_MS, "");
	announce(text);
}

export function time(left) {
	const text = left ? clockText(left.seconds) : "";
	write({ left: text && `${text} left`, "seal-time": text });
	page.ring.setAttribute("stroke-dasharray", `${left?.share ?? 0} 1`);
}

export function turn({ id, who, text, final, interrupted }) {
	const inSight = page.composer.getBoundingClientRect().bottom < innerHeight + 1;
	const item = rows.get(id) ?? page.turns.appendChild(make("li"));
	rows.set(id, item);
	const said = make("span", "said", text || "…");
	if (interrupted) said.append(" — ", make("span", "mark", "interrupted"));
	item.replaceChildren(make("span", "who", NAMES[who]), said);
	item.className = `turn ${who} ${final ? "" : "interim"}`;
	item.hidden = final && !text;
	item.ariaBusy = String(!final);
	page.copy.hidden = page.save.hidden = false;
	if (inSight) page.composer.scrollIntoView({ block: "nearest" }); // who types goes on seeing the field
}

/** One line for many of a kind. */
export function event({ direction, event }) {
	const kind = `${direction === "in" ? "←" : "→"} ${event.type}`;
	if (latest.kind !== kind) {
		const text = `${new Date().toLocaleTimeString([], { hour12: false })} ${kind}`;
		latest = { kind, text, count: 0, label: make("span", "type") };
		const line = make("li");
		line.append(latest.label, ` ${redacted(event)}`);
		page["event-lines"].prepend(line);
		page["event-lines"].children[MOST_EVENTS]?.remove();
	}
	latest.count += 1;
	latest.label.textContent = latest.text + (latest.count > 1 ? ` × ${latest.count}` : "");
}

export function microphones(devices, currentId) {
	reveal(page.microphone, devices.length > 1);
	page.microphone.replaceChildren(...devices.map(({ deviceId, label }) => new Option(label, deviceId)));
	page.microphone.value = currentId;
}

/** What is true of this deployment. */
export function ledger({ provider, stores }) {
	const kept = stores === "nothing" ? "No audio. No transcript." : `The relay keeps: ${stores}.`;
	write({
		path: `This browser → this relay → ${provider}. Nowhere else.`,
		kept: `${kept} The text above lives in this tab only. There, ${provider}'s own retention rules apply.`,
	});
}

export function receipt(lines) {
	page.receipt.hidden = !lines.length;
	page["receipt-lines"].replaceChildren(...lines.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", value)]));
}

function make(tag, className = "", textContent = "") {
	return Object.assign(document.createElement(tag), { className, textContent });
}
