/** What the counts of the last minutes come to. Pure. */

/** @typedef {{at: number, counts: Record<string, number>}} Minute */

const REFUSED = "refused:";
const ENDED = "ended:";

/** @param {Minute} minute */
export function refusedIn(minute) {
  return sumOf(minute.counts, REFUSED);
}

/** The counts whose names begin with a prefix, over all minutes, the most frequent first.
 * @param {Minute[]} minutes
 * @param {string} prefix
 * @returns {[string, number][]} */
export function totals(minutes, prefix) {
  const sums = new Map();
  for (const { counts } of minutes) {
    for (const [name, count] of Object.entries(counts)) {
      if (name.startsWith(prefix)) sums.set(name.slice(prefix.length), (sums.get(name.slice(prefix.length)) ?? 0) + count);
    }
  }
  return [...sums].sort(([one, ones], [other, others]) => others - ones || one.localeCompare(other));
}

/** @param {Minute[]} minutes */
export function summarise(minutes) {
  const last = minutes.at(-2) ?? { counts: {} }; // the newest minute is not over
  return {
    minted: last.counts.minted ?? 0,
    refused: sumOf(last.counts, REFUSED),
    spentUsd: minutes.reduce((sum, { counts }) => sum + (counts.spend_microusd ?? 0), 0) / 1e6,
    refusals: totals(minutes, REFUSED),
    endings: totals(minutes, ENDED),
  };
}

/** Heights between 0 and 1.
 * @param {number[]} values */
export function shares(values) {
  const most = Math.max(1, ...values);
  return values.map((value) => value / most);
}

/** @param {number} seconds */
export function clock(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function sumOf(counts, prefix) {
  return Object.entries(counts).reduce((sum, [name, count]) => (name.startsWith(prefix) ? sum + count : sum), 0);
}
