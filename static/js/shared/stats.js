// Order statistics, and a window over the newest values. Knows no page.

/** The nearest-rank percentile of numbers; null of none. */
export function percentile(values, p) {
  if (!values.length) return null;
  const sorted = Float64Array.from(values).sort();
  const rank = Math.ceil((p / 100) * sorted.length);
  return sorted[Math.min(sorted.length - 1, Math.max(0, rank - 1))];
}

/** The newest `size` values. */
export class RollingWindow {
  constructor(size) {
    this.size = size;
    this.values = [];
  }

  add(value) {
    this.values.push(value);
    if (this.values.length > this.size) this.values.shift();
  }

  percentile(p) {
    return percentile(this.values, p);
  }

  get length() {
    return this.values.length;
  }
}
