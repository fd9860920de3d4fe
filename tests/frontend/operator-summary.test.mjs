import assert from "node:assert/strict";
import test from "node:test";

import { clock, refusedIn, shares, summarise, totals } from "../../token_service/operators/page/summary.js";

const MINUTES = [
  { at: 0, counts: { minted: 5, "refused:token_used": 2, "ended:idle": 1, spend_microusd: 1_500_000 } },
  { at: 60, counts: { minted: 7, "refused:token_used": 1, "refused:blocked": 3, spend_microusd: 250_000 } },
  { at: 120, counts: { minted: 1 } },
];

test("the last whole minute is shown, not the one that still runs", () => {
  const { minted, refused } = summarise(MINUTES);
  assert.deepEqual([minted, refused], [7, 4]);
});

test("money and codes are those of all minutes, the most frequent first", () => {
  const { spentUsd, refusals, endings } = summarise(MINUTES);
  assert.equal(spentUsd, 1.75);
  assert.deepEqual(refusals, [["blocked", 3], ["token_used", 3]]);
  assert.deepEqual(endings, [["idle", 1]]);
  assert.deepEqual(totals(MINUTES, "nothing:"), []);
});

test("an hour without anything is zero", () => {
  assert.deepEqual(summarise([]), { minted: 0, refused: 0, spentUsd: 0, refusals: [], endings: [] });
  assert.equal(refusedIn({ at: 0, counts: {} }), 0);
});

test("bars are shares of the highest, and none of nothing", () => {
  assert.deepEqual(shares([0, 5, 10]), [0, 0.5, 1]);
  assert.deepEqual(shares([0, 0]), [0, 0]);
});

test("times read as minutes and seconds, never below zero", () => {
  assert.deepEqual([clock(0), clock(61.4), clock(600), clock(-3)], ["0:00", "1:01", "10:00", "0:00"]);
});
