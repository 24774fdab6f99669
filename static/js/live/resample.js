// 48 kHz ↔ 24 kHz, streaming, by one half-band low-pass.

/** Taps of a half-band filter (Kaiser window); length 4n + 3, every second one is 0. */
export function halfBand(taps = 63, beta = 8) {
  const middle = (taps - 1) / 2;
  const filter = new Float32Array(taps);
  let sum = 0;
  for (let i = 0; i < taps; i += 1) {
    const x = i - middle;
    const ideal = x === 0 ? 0.5 : Math.sin((Math.PI * x) / 2) / (Math.PI * x);
    const window = bessel(beta * Math.sqrt(1 - (x / middle) ** 2)) / bessel(beta);
    filter[i] = x !== 0 && x % 2 === 0 ? 0 : ideal * window;
    sum += filter[i];
  }
  return filter.map((value) => value / sum);
}

/** @param {number} x */
function bessel(x) {
  let term = 1;
  let sum = 1;
  for (let k = 1; k < 40; k += 1) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

export const FILTER = halfBand();
/** Delay of one pass through the filter, in samples at 48 kHz. */
export const DELAY = (FILTER.length - 1) / 2;

/** 48 kHz → 24 kHz; call with an even number of samples. */
export class Halver {
  constructor() {
    this.history = new Float32Array(FILTER.length - 1);
  }

  /** @param {Float32Array} samples */
  process(samples) {
    const history = this.history.length;
    const line = new Float32Array(history + samples.length);
    line.set(this.history);
    line.set(samples, history);
    const out = new Float32Array(samples.length / 2);
    for (let i = 0; i < out.length; i += 1) out[i] = dot(line, 2 * i + 1);
    this.history = line.slice(samples.length);
    return out;
  }
}

/** 24 kHz → 48 kHz. */
export class Doubler {
  constructor() {
    this.history = new Float32Array(FILTER.length - 1); // at 48 kHz, zero-stuffed
  }

  /** @param {Float32Array} samples */
  process(samples) {
    const history = this.history.length;
    const line = new Float32Array(history + 2 * samples.length);
    line.set(this.history);
    // Zero-stuffing halves the level: 2 gives it back.
    for (let i = 0; i < samples.length; i += 1) line[history + 2 * i] = 2 * samples[i];
    const out = new Float32Array(2 * samples.length);
    for (let i = 0; i < out.length; i += 1) out[i] = dot(line, i);
    this.history = line.slice(line.length - history);
    return out;
  }
}

/**
 * @param {Float32Array} line
 * @param {number} start
 */
function dot(line, start) {
  let sum = 0;
  for (let k = 0; k < FILTER.length; k += 1) sum += FILTER[k] * line[start + k];
  return sum;
}

/** @param {Float32Array} samples */
export function toInt16(samples) {
  const out = new Int16Array(samples.length);
  for (let i = 0; i < samples.length; i += 1) {
    out[i] = Math.round(Math.max(-1, Math.min(1, samples[i])) * 32767);
  }
  return out;
}

/**
 * Little-endian int16 bytes at any offset → floats.
 * @param {Uint8Array} bytes
 */
export function fromInt16(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Float32Array(bytes.byteLength / 2);
  for (let i = 0; i < out.length; i += 1) out[i] = view.getInt16(2 * i, true) / 32768;
  return out;
}
