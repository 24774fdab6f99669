// What the review page draws, as numbers.

/** @import { Word } from "./data.js" */

const MIN_PEAKS = 3000; // fewer would leave gaps between the bars of a wide screen

/**
 * Levels of 0 … 100, `rate` a second, as peaks of 0 … 1 that cover `duration` exactly: the
 * recording may be a little longer than its levels, or shorter.
 * @param {number[]} levels
 * @param {number} rate
 * @param {number} duration
 */
export function peaks(levels, rate, duration) {
  const length = Math.max(1, Math.round(rate * duration));
  const repeat = Math.max(2, Math.ceil(MIN_PEAKS / length));
  return Float32Array.from({ length: length * repeat }, (_, i) => {
    const level = levels[Math.floor(i / repeat)] ?? 0;
    return Math.min(1, Math.max(0, level / 100));
  });
}

/**
 * Index of the last word that has begun at `time`, while it is the current one: until its
 * end and a little longer; -1 between words.
 * @param {Pick<Word, "start_s" | "end_s">[]} words
 * @param {number} time
 */
export function wordAt(words, time, linger = 0.3) {
  let low = 0;
  let high = words.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (words[middle].start_s <= time) low = middle + 1;
    else high = middle;
  }
  const index = low - 1;
  return index >= 0 && time < words[index].end_s + linger ? index : -1;
}

/** Steps of time axes, in seconds. */
export const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];

/**
 * The smallest of them that is at least `seconds`, or the largest.
 * @param {number} seconds
 */
export function timeStep(seconds) {
  return TIME_STEPS.find((step) => step >= seconds) ?? Math.max(...TIME_STEPS);
}
