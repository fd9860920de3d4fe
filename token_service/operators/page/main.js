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
    made.disabled = true;
    try {
      await act();
    } catch (error) {
      tell(error.message, true);
    }
    refresh();
  });
  return made;
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

function drawSessions(sessions) {
  at("live").textContent = String(sessions.length);
  at("sessions").hidden = sessions.length === 0;
  at("no-sessions").hidden = sessions.length > 0;
  // A button that somebody is about to press must not be replaced under the finger.
  const rows = new Map([...at("sessions").tBodies[0].rows].map((row) => [row.dataset.id, row]));
  const now = Date.now() / 1000;
  at("sessions").tBodies[0].replaceChildren(...sessions.map((session) => rowOf(session, rows.get(session.id), now)));
}

function rowOf(session, row, now) {
  const cost = session.cost_usd === null ? "no price" : `$${session.cost_usd.toFixed(4)}`;
  const cells = [
    session.id, session.tenant, session.subject.slice(0, 12), session.profile,
    clock(session.audio_in_seconds), String(session.tokens), cost, clock(session.ends_at - now),
  ];
  if (!row) {
    const end = button("End", `End session ${session.id}`, () => ask(`sessions/${session.id}`, { method: "DELETE" }));
    row = element("tr", "", [...cells.map(() => element("td")), element("td", "", [end])]);
    row.dataset.id = session.id;
  }
  cells.forEach((text, column) => {
    row.cells[column].textContent = text;
  });
  return row;
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

function drawBlocks(blocks) {
  const line = (block) => {
    const lift = button("Lift", `Lift the block of ${block.kind} ${block.name}`, () => {
      const whom = block.kind === "tenant" ? { tenant: block.name } : { subject: block.id };
      return ask(`blocks?${new URLSearchParams(whom)}`, { method: "DELETE" });
    });
    const whom = block.kind === "tenant" ? block.name : block.id.slice(0, 12);
    return element("li", `${block.kind} ${whom}, ${clock(block.until - Date.now() / 1000)} left`, [lift]);
  };
  drawList("blocks", blocks.map(line), "Nobody is blocked.");
}

async function refresh() {
  clearTimeout(timer);
  let wait = REFRESH_MILLISECONDS;
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
    tell(error instanceof Refused ? error.message : "No answer; trying again.", true);
    wait = SLOW_MILLISECONDS;
  }
  timer = setTimeout(refresh, wait);
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
