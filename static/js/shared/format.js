// Numbers and names as people read them.

/**
 * 75 → "1:15", 3675 → "1:01:15"; never negative.
 * @param {number} seconds
 */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const pair = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const rest = pair(whole % 60);
  return hours ? `${hours}:${pair(minutes)}:${rest}` : `${minutes}:${rest}`;
}

/**
 * 75.25 → "1:15.2": for positions in a recording.
 * @param {number} seconds
 */
export function clockTenths(seconds) {
  const tenths = Math.max(0, Math.floor(seconds * 10 + 1e-6));
  return `${clock(Math.floor(tenths / 10))}.${tenths % 10}`;
}

/**
 * Milliseconds without false precision: 4.2 ms, 87 ms, 1.2 s.
 * @param {number | null | undefined} ms
 */
export function milliseconds(ms) {
  if (ms === null || ms === undefined || !Number.isFinite(ms)) return "–";
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

/**
 * A wait in words: "a few seconds", "40 seconds", "about 3 minutes".
 * @param {number} seconds
 */
export function wait(seconds) {
  if (seconds < 5) return "a few seconds";
  if (seconds < 90) return `${Math.round(seconds)} seconds`;
  return `about ${Math.round(seconds / 60)} minutes`;
}

/**
 * "1 second", "3 seconds".
 * @param {number} n
 * @param {string} one
 */
export function count(n, one, many = `${one}s`) {
  return `${n} ${n === 1 ? one : many}`;
}

/**
 * Tenths of a second, rounded down: what is refused for being below a limit looks so.
 * @param {number} seconds
 */
export function tenthsBelow(seconds) {
  return (Math.floor(seconds * 10 + 1e-9) / 10).toFixed(1);
}

/**
 * Tenths of a second, rounded up, for what is above a limit.
 * @param {number} seconds
 */
export function tenthsAbove(seconds) {
  return (Math.ceil(seconds * 10 - 1e-9) / 10).toFixed(1);
}

/**
 * The first character of a name as its reader sees it: "é" of two code points, or a
 * picture of several, is one.
 * @param {string} name
 */
export function initial(name) {
  const segments = globalThis.Intl?.Segmenter && new Intl.Segmenter(undefined, { granularity: "grapheme" }).segment(name);
  const first = segments ? segments[Symbol.iterator]().next().value?.segment : [...name][0];
  return (first ?? "").toUpperCase();
}
