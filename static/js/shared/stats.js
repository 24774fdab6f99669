// Order statistics, and a window over the newest values.

/**
 * The nearest-rank percentile of numbers; null of none.
 * @param {ArrayLike<number>} values
 * @param {number} p
 */
export function percentile(values, p) {
  if (!values.length) return null;
  const sorted = Float64Array.from(values).sort();
  const rank = Math.ceil((p / 100) * sorted.length);
  return sorted[Math.min(sorted.length - 1, Math.max(0, rank - 1))];
}

/** The newest `size` values. */
export class RollingWindow {
  /** @param {number} size */
  constructor(size) {
    this.size = size;
    /** @type {number[]} */
    this.values = [];
  }

  /** @param {number} value */
  add(value) {
    this.values.push(value);
    if (this.values.length > this.size) this.values.shift();
  }

  /** @param {number} p */
  percentile(p) {
    return percentile(this.values, p);
  }

  get length() {
    return this.values.length;
  }
}
