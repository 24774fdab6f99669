// Whether the microphone hears the loudspeaker: the correlation of what was played with
// what the microphone took. It is given their levels in 10 ms, not the audio graph.
//
// Levels instead of waveforms: a room and an echo canceller bend the waveform, but an
// echo still rises and falls with its source. Two people do so too for a moment, but not
// for seconds with one and the same delay.

const BINS = 512; // of history, 5 s
const WINDOW = 300; // what is compared, 3 s
const LONGEST = 50; // delay of an echo, 0.5 s
const FLOOR_DB = -60;
const SPEECH_DB = -45;
const ECHO_DB = -52; // softer than that the model doesn't notice it
const ACTIVE = 60; // bins with sound that a comparison needs
const HIGH = 0.65;
const SAME = 3; // bins by which the delay may differ
const IN_A_ROW = 3; // measurements until it counts as an echo

const decibels = (/** @type {number} */ power) => Math.max(FLOOR_DB, 10 * Math.log10(power + 1e-12));

class History {
  constructor() {
    this.values = new Float32Array(BINS).fill(FLOOR_DB);
    this.end = 0; // the bin after the newest
  }

  /**
   * @param {number} n
   * @param {number} power
   */
  add(n, power) {
    for (let k = Math.max(this.end, n - BINS); k < n; k += 1) this.values[k % BINS] = FLOOR_DB;
    this.values[n % BINS] = decibels(power);
    this.end = n + 1;
  }

  /** @param {number} n */
  at(n) {
    return n < this.end - BINS || n >= this.end || n < 0 ? FLOOR_DB : this.values[n % BINS];
  }
}

export class EchoMeter {
  constructor() {
    this.played = new History();
    this.captured = new History();
    this.correlation = 0; // 0 … 1, of the last measurement
    /** @type {number[]} */
    this.delays = []; // in bins, of the measurements in a row
  }

  /**
   * @param {number} n
   * @param {number} power
   */
  addPlayed(n, power) {
    this.played.add(n, power);
  }

  /**
   * @param {number} n
   * @param {number} power
   */
  addCaptured(n, power) {
    this.captured.add(n, power);
  }

  /** Once a second; true when the microphone hears the loudspeaker. */
  measure() {
    const { correlation, delay, loud } = this.#best();
    // An echo takes time. Best without any delay: the user was first, as when the agent
    // repeats what it hears.
    this.correlation = delay ? correlation : 0;
    if (this.correlation < HIGH || !loud) this.delays.length = 0;
    else {
      if (this.delays.some((other) => Math.abs(other - delay) > SAME)) this.delays.length = 0;
      this.delays.push(delay);
    }
    return this.delays.length >= IN_A_ROW;
  }

  #best() {
    const end = Math.min(this.captured.end, this.played.end);
    const best = { correlation: 0, delay: 0, loud: false };
    for (let delay = 0; delay <= LONGEST; delay += 1) {
      const { correlation, loud } = this.#correlate(end - WINDOW, end, delay);
      if (correlation > best.correlation) Object.assign(best, { correlation, delay, loud });
    }
    return best;
  }

  /**
   * @param {number} from
   * @param {number} end
   * @param {number} delay
   */
  #correlate(from, end, delay) {
    let [n, active, loudest] = [0, 0, FLOOR_DB];
    let [sp, sc, spp, scc, spc] = [0, 0, 0, 0, 0];
    for (let k = from; k < end; k += 1) {
      const p = this.played.at(k - delay);
      const c = this.captured.at(k);
      if (p > SPEECH_DB) {
        active += 1;
        loudest = Math.max(loudest, c);
      }
      n += 1;
      sp += p;
      sc += c;
      spp += p * p;
      scc += c * c;
      spc += p * c;
    }
    const deviation = Math.sqrt((spp - (sp * sp) / n) * (scc - (sc * sc) / n));
    const enough = active >= ACTIVE && deviation > 0;
    const correlation = enough ? Math.max(0, (spc - (sp * sc) / n) / deviation) : 0;
    return { correlation, loud: loudest > ECHO_DB };
  }
}
