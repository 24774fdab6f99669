// What the review page draws, as numbers. Knows no page and no canvas.

/** The loudest level of each of `columns` equal parts: short sounds stay visible. */
export function columnLevels(levels, columns) {
  const out = new Float32Array(columns);
  if (!levels.length) return out;
  for (let c = 0; c < columns; c += 1) {
    const from = Math.floor((c * levels.length) / columns);
    const to = Math.max(from + 1, Math.floor(((c + 1) * levels.length) / columns));
    let most = 0;
    for (let i = from; i < Math.min(to, levels.length); i += 1) most = Math.max(most, levels[i]);
    out[c] = most;
  }
  return out;
}

/** Index of the last word that has begun at `time`, while it is the current one:
 * until its end and a little longer; -1 between words. */
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

/** Round values for an axis from 0 to at least `most`: about `wanted` of them. */
export function axisTicks(most, wanted = 4) {
  const rough = Math.max(most, 1e-9) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough - 1e-12);
  const count = Math.max(1, Math.ceil(most / step - 1e-9));
  return Array.from({ length: count + 1 }, (_, i) => i * step);
}

/** Round seconds for a time axis, at most `wanted` steps. */
export function timeTicks(duration, wanted = 8) {
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
  const step = steps.find((s) => duration / s <= wanted) ?? 7200;
  const count = Math.floor(duration / step + 1e-9);
  return Array.from({ length: count + 1 }, (_, i) => i * step);
}
