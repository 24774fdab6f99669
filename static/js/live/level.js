// How loud a side is now, 0 … 1, for the meters.

const FLOOR_DB = -60;
const FALL_MS = 130; // to a third

/**
 * Root mean square of samples on a scale where −60 dBFS is 0 and −6 dBFS is 1.
 * @param {Float32Array} samples
 */
export function loudness(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const rms = Math.sqrt(sum / samples.length);
  if (rms === 0) return 0;
  const db = 20 * Math.log10(rms);
  return Math.max(0, Math.min(1, (db - FLOOR_DB) / (-6 - FLOOR_DB)));
}

/** A level that rises at once and falls slowly, read from an AnalyserNode. */
export class Level {
  /** @param {AnalyserNode} meter */
  constructor(meter) {
    this.meter = meter;
    this.samples = new Float32Array(meter.fftSize);
    this.value = 0;
    this.readAt = 0;
  }

  read() {
    const at = performance.now();
    this.meter.getFloatTimeDomainData(this.samples);
    const now = loudness(this.samples);
    const kept = Math.exp((this.readAt - at) / FALL_MS);
    this.value = now > this.value ? now : this.value * kept + now * (1 - kept);
    this.readAt = at;
    return this.value;
  }
}
