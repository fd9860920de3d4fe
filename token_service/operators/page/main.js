/** The operators' board: asks the API every two seconds, draws what it says, and gives orders. */

import { clock, refusedIn, shares, summarise } from "./summary.js";

const REFRESH_MILLISECONDS = 2000;
const SLOW_MILLISECONDS = 10_000;

const at = (id) => document.getElementById(id);
let key = "";
let timer;

class Refused extends Error {}

async function ask(path, options = {}) {
  const response = await fetch(`v1/operator/${path}`, {
    ...options,
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
  });
  const body = await response.json();
  if (!response.ok) throw Object.assign(new Refused(body.error.message), { status: response.status });
  return body;
}

function tell(text, isBad = false) {
  const status = at("status");
  if (status.textContent !== text) status.textContent = text;
  status.toggleAttribute("data-bad", isBad);
}

function element(tag, text = "", children = []) {
  const made = document.createElement(tag);
  made.textContent = text;
  made.append(...children);
  return made;
}

function button(text, label, act) {
  const made = element("button", text);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.addEventListener("click", async () => {
    if (made.hasAttribute("aria-disabled")) return;
    made.setAttribute("aria-disabled", "true"); // not disabled: that would take the focus away
    try {
      await act();
    } catch (error) {
      made.removeAttribute("aria-disabled");
      complain(error);
      return;
    }
    refresh();
  });
  return made;
}

/** Say what went wrong, for long enough to be read, then look again. */
function complain(error) {
  tell(error instanceof Refused ? error.message : "No answer; trying again.", true);
  clearTimeout(timer);
  timer = setTimeout(refresh, SLOW_MILLISECONDS);
}

/** Let an element have one child for each thing, and touch no child that stays: one that has the focus keeps it. Where
 * the one that has it goes, a heading gets it. */
function drawEach(parent, things, heading, { id, make, update }) {
  const kept = new Map([...parent.children].map((child) => [child.dataset.id, child]));
  const ids = things.map(id);
  for (const [name, child] of kept) {
    if (ids.includes(name)) continue;
    if (child.contains(document.activeElement)) heading.focus();
    child.remove();
  }
  things.forEach((thing, place) => {
    const child = kept.get(ids[place]) ?? make(thing);
    child.dataset.id = ids[place];
    update(child, thing);
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
  });
}

function drawBars(id, values) {
  const chart = at(id);
  chart.setAttribute("aria-label", `${values.reduce((sum, value) => sum + value, 0)} in the last hour`);
  chart.replaceChildren(
    ...shares(values).map((share) => {
      const bar = document.createElement("i");
      bar.style.setProperty("--share", share.toFixed(3));
      return bar;
    }),
  );
}

function drawList(id, items, nothing) {
  at(id).replaceChildren(...(items.length ? items : [element("li", nothing)]));
}

const SESSION_ROW = {
  id: (session) => session.id,
  make: (session) => {
    const end = button("End", `End session ${session.id}`, () => ask(`sessions/${session.id}`, { method: "DELETE" }));
    return element("tr", "", [...cellsOf(session).map(() => element("td")), element("td", "", [end])]);
  },
  update: (row, session) => {
    cellsOf(session).forEach((text, column) => {
      row.cells[column].textContent = text;
    });
  },
};

function drawSessions(sessions) {
  at("live").textContent = String(sessions.length);
  drawEach(at("sessions").tBodies[0], sessions, at("sessions-heading"), SESSION_ROW);
  at("sessions").parentElement.hidden = sessions.length === 0;
  at("no-sessions").hidden = sessions.length > 0;
}

function cellsOf(session) {
  const cost = session.cost_usd === null ? "no price" : `$${session.cost_usd.toFixed(4)}`;
  return [
    session.id, session.tenant, session.subject.slice(0, 12), session.profile,
    clock(session.audio_in_seconds), String(session.tokens), cost, clock(session.ends_at - Date.now() / 1000),
  ];
}

function drawSummary(minutes) {
  const { minted, refused, spentUsd, refusals, endings } = summarise(minutes);
  at("minted").textContent = String(minted);
  at("refused").textContent = String(refused);
  at("spent").textContent = `$${spentUsd.toFixed(2)}`;
  drawBars("bars-minted", minutes.map(({ counts }) => counts.minted ?? 0));
  drawBars("bars-started", minutes.map(({ counts }) => counts.started ?? 0));
  drawBars("bars-refused", minutes.map(refusedIn));
  const line = ([name, count]) => element("li", name, [element("b", String(count))]);
  drawList("refusals", refusals.map(line), "Nothing was refused.");
  drawList("endings", endings.map(line), "No session ended.");
}

const whom = (block) => `${block.kind} ${block.kind === "tenant" ? block.name : block.id.slice(0, 12)}`;

const BLOCK_LINE = {
  id: (block) => `${block.kind} ${block.id}`,
  make: (block) => {
    const lift = button("Lift", `Lift the block of ${whom(block)}`, () => {
      const query = block.kind === "tenant" ? { tenant: block.name } : { subject: block.id };
      return ask(`blocks?${new URLSearchParams(query)}`, { method: "DELETE" });
    });
    return element("li", "", [element("span"), lift]);
  },
  update: (line, block) => {
    line.firstChild.textContent = `${whom(block)}, ${clock(block.until - Date.now() / 1000)} left`;
  },
};

function drawBlocks(blocks) {
  drawEach(at("blocks"), blocks, at("blocks-heading"), BLOCK_LINE);
  at("no-blocks").hidden = blocks.length > 0;
}

async function refresh() {
  clearTimeout(timer);
  try {
    const [{ sessions }, { minutes }, { blocks }] = await Promise.all([ask("sessions"), ask("summary"), ask("blocks")]);
    drawSessions(sessions);
    drawSummary(minutes);
    drawBlocks(blocks);
    at("door").hidden = true;
    at("board").hidden = false;
    tell("Up to date.");
  } catch (error) {
    if (error.status === 401) {
      key = "";
      at("board").hidden = true;
      at("door").hidden = false;
      at("key").focus();
      tell("That key is not known here.", true);
      return;
    }
    complain(error);
    return;
  }
  timer = setTimeout(refresh, REFRESH_MILLISECONDS);
}

at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  key = at("key").value.trim();
  at("key").value = "";
  tell("Asking…");
  refresh();
});

document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else if (key) refresh();
});
