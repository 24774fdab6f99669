// Makes a stretch of sound a little shorter or longer without a cut: one period of the
// voice is left out or repeated where the waveform matches itself best, by a cross-fade
// (WSOLA; accelerate and preemptive expand in NetEQ). Works on samples alone.

const MIN_MS = 2.5; // periods of 400 … 80 Hz
const MAX_MS = 12.5;
const WINDOW_MS = 7.5; // what is compared
const STRIDE = 4; // the search is coarse first: lags and samples at a quarter of the rate
const QUIET = 0.002; // RMS, −54 dBFS: whatever is done to it is not heard

/** @typedef {{ lag: number, likeness: number, quiet: boolean }} Match likeness: −1 … 1 */

export class TimeScale {
  /** @param {number} rate */
  constructor(rate) {
    const samples = (/** @type {number} */ ms) => Math.round((ms * rate) / 1000);
    this.least = samples(MIN_MS);
    this.most = samples(MAX_MS);
    this.window = samples(WINDOW_MS);
    /** How many samples `period`, `shorten` and `lengthen` may look at. */
    this.reach = Math.max(2 * this.most, this.most + this.window);
  }

  /**
   * The lag by which `x` matches itself best.
   * @param {Float32Array} x
   */
  period(x) {
    return this.match(x, x, this.least, this.most);
  }

  /**
   * Where in `b`, from `first` to `last`, the beginning of `a` is found best.
   * @param {Float32Array} a
   * @param {Float32Array} b
   * @param {number} first
   * @param {number} last
   * @returns {Match}
   */
  match(a, b, first, last) {
    const energy = dot(a, 0, a, 0, this.window, STRIDE);
    const quiet = energy * STRIDE < QUIET * QUIET * this.window;
    const found = { lag: last, likeness: -Infinity, quiet };
    // From long to short: among equals the longest needs the fewest cross-fades.
    for (let lag = last; lag >= first; lag -= STRIDE) {
      this.#weigh(found, a, b, lag, energy, STRIDE);
    }
    const whole = dot(a, 0, a, 0, this.window, 1);
    const middle = found.lag;
    found.likeness = -Infinity;
    for (let step = STRIDE - 1; step > -STRIDE; step -= 1) {
      const lag = middle + step;
      if (lag >= first && lag <= last) this.#weigh(found, a, b, lag, whole, 1);
    }
    return found;
  }

  /**
   * @param {Match} found
   * @param {Float32Array} a
   * @param {Float32Array} b
   * @param {number} lag
   * @param {number} energy
   * @param {number} stride
   */
  #weigh(found, a, b, lag, energy, stride) {
    const other = dot(b, lag, b, lag, this.window, stride);
    const product = dot(a, 0, b, lag, this.window, stride);
    const likeness = energy && other ? product / Math.sqrt(energy * other) : 1;
    if (likeness > found.likeness) Object.assign(found, { lag, likeness });
  }
}

/**
 * @param {Float32Array} a
 * @param {number} i
 * @param {Float32Array} b
 * @param {number} k
 * @param {number} length
 * @param {number} stride
 */
function dot(a, i, b, k, length, stride) {
  let sum = 0;
  for (let n = 0; n < length; n += stride) sum += a[i + n] * b[k + n];
  return sum;
}

/**
 * 0 … 1 over `n` samples, smooth at both ends.
 * @param {number} i
 * @param {number} n
 */
export function fadeIn(i, n) {
  return 0.5 - 0.5 * Math.cos((Math.PI * (i + 0.5)) / n);
}

/**
 * Two periods of `n` samples of `x` become one in `out`.
 * @param {Float32Array} x
 * @param {number} n
 * @param {Float32Array} out
 */
export function shorten(x, n, out) {
  for (let i = 0; i < n; i += 1) {
    const w = fadeIn(i, n);
    out[i] = x[i] * (1 - w) + x[n + i] * w;
  }
  return n;
}

/**
 * Two periods of `n` samples of `x` become three in `out`.
 * @param {Float32Array} x
 * @param {number} n
 * @param {Float32Array} out
 */
export function lengthen(x, n, out) {
  for (let i = 0; i < n; i += 1) {
    const w = fadeIn(i, n);
    out[i] = x[i];
    out[n + i] = x[n + i] * (1 - w) + x[i] * w;
    out[2 * n + i] = x[n + i];
  }
  return 3 * n;
}
