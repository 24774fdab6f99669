// What is played when the next frame is late: the last period of the voice is repeated and
// fades, so that a short wait is no gap and no click. Works on samples alone.

import { fadeIn } from "./time_scale.js";

/** @import { TimeScale } from "./time_scale.js" */

const STEADY_MS = 20; // at full level
const FADE_MS = 40; // then down to nothing
const JOIN_MS = 2;

export class Concealment {
  /**
   * @param {number} rate
   * @param {TimeScale} scale finds the period
   */
  constructor(rate, scale) {
    const samples = (/** @type {number} */ ms) => Math.round((ms * rate) / 1000);
    this.scale = scale;
    this.steady = samples(STEADY_MS);
    this.length = samples(STEADY_MS + FADE_MS);
    this.join = samples(JOIN_MS);
    this.reach = scale.reach; // samples of history that `begin` wants
    this.period = new Float32Array(scale.most);
    this.lag = 0;
    this.step = 0;
    this.position = this.length;
  }

  get active() {
    return this.position < this.length;
  }

  /** @param {Float32Array} history the newest `reach` samples, the newest one first */
  begin(history) {
    const { lag } = this.scale.period(history);
    this.lag = lag;
    // Its end is blended into what came a period earlier, so that it runs in a circle.
    for (let i = 0; i < lag; i += 1) {
      const w = i < lag - this.join ? 0 : fadeIn(i - lag + this.join, this.join);
      const earlier = history[Math.min(history.length - 1, 2 * lag - 1 - i)];
      this.period[i] = history[lag - 1 - i] * (1 - w) + earlier * w;
    }
    // The first sample continues where the last one would have gone.
    this.step = 2 * history[0] - history[1] - this.period[0];
    this.position = 0;
  }

  next() {
    const i = this.position;
    this.position += 1;
    const start = i < this.join ? this.step * (1 - i / this.join) : 0;
    const fade = i < this.steady ? 0 : (i - this.steady) / (this.length - this.steady);
    return (this.period[i % this.lag] + start) * (1 - fade);
  }

  stop() {
    this.position = this.length;
  }
}
