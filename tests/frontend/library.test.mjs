import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { Airlock } from "../../frontend/airlock.js";
import { SCREENS } from "../../frontend/copy.js";

const ROOT = new URL("../../frontend/", import.meta.url);
const types = readFileSync(new URL("airlock.d.ts", ROOT), "utf-8");

/** The module and everything it imports, worklets too. */
function closure(name, seen = new Map()) {
  if (seen.has(name)) return seen;
  const text = readFileSync(new URL(name, ROOT), "utf-8");
  seen.set(name, text);
  for (const [, , path] of text.matchAll(/(from|new URL\() ?"(\.[^"]+\.js)"/g)) {
    closure(new URL(path, new URL(name, ROOT)).href.slice(ROOT.href.length), seen);
  }
  return seen;
}

test("the types name every public member, and no other", () => {
  const body = types.slice(types.indexOf("export class Airlock"), types.indexOf("export function"));
  const typed = [...body.matchAll(/^\t(?:readonly )?(\w+)[(:<]/gm)].map(([, name]) => name);
  const members = [...Object.getOwnPropertyNames(Airlock.prototype), ...Object.keys(new Airlock())];
  assert.deepEqual([...new Set(typed)].filter((name) => name !== "addEventListener").sort(), members.sort());
});

test("the types name every counter and every screen", () => {
  const counters = types.slice(types.indexOf("interface Counters"), types.indexOf("export class Airlock"));
  const named = [...counters.matchAll(/^\t(\w+):/gm)].map(([, name]) => name);
  assert.deepEqual(named.sort(), Object.keys(new Airlock().counters).sort());
  const screens = types.slice(types.indexOf("type Screen"), types.indexOf("/** Facts"));
  assert.deepEqual([...screens.matchAll(/"([\w-]+)"/g)].map(([, name]) => name).sort(), Object.keys(SCREENS).sort());
});

test("the library shows nothing and knows nothing of the page", () => {
  const files = closure("airlock.js");
  assert.ok(files.has("audio/capture-worklet.js") && files.has("audio/resampler.js") && files.size > 12);
  for (const [name, text] of files) {
    assert.doesNotMatch(text, /getElement|querySelector|createElement|\.textContent|innerHTML|\balert\(/, name);
    assert.ok(!["view.js", "copy.js", "wire.js", "main.js"].includes(name), name);
  }
});

test("the library, with all it imports, is smaller than 80 KB as it stands in the repository", () => {
  const size = [...closure("airlock.js").values()].reduce((sum, text) => sum + Buffer.byteLength(text), 0);
  assert.ok(size < 80_000, `${size} bytes`);
});

test("at rest it is idle, holds nothing, and sends nothing", () => {
  const airlock = new Airlock();
  assert.deepEqual([airlock.state, airlock.timeLeft, airlock.receipt, airlock.transcript], ["idle", null, null, ""]);
  assert.equal(airlock.send({ type: "response.create" }), false);
});
