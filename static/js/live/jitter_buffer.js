// The samples between arrival and loudspeaker. Runs in the playback worklet, but does not
// use Web Audio, so that it can be tested as it is. Times are in samples of one clock.
//
// Frames arrive in lumps of 80 ms. `margin` is what is still unplayed when the next lump
// arrives. For a frame that comes in time it should be `target`: 40 … 120 ms, following
// the measured jitter. Output is clocked by the microphone (one answer per user frame),
// so the margin never drifts by itself: it only jumps, when the network or the engine
// stalls. What is then done, gentlest first:
//
// - too wide or too narrow: periods of the voice are left out or repeated (time_scale.js);
// - wider than that can repay in 2 s: the oldest samples are cut out with a cross-fade;
// - nothing left to play: the last period is repeated and fades (concealment.js); when that
//   is over too it is an underrun: silence until the margin is there again, then a fade-in.

import { Concealment } from "./concealment.js";
import { JitterEstimator } from "./jitter_estimator.js";
import { TimeScale, fadeIn, lengthen, shorten } from "./time_scale.js";

const ms = (/** @type {number} */ n, /** @type {number} */ rate) => Math.round((n * rate) / 1000);
const LIKENESS = 0.6; // below it a small correction waits for a better place

/** @typedef {{ seq: number, at: number }} Mark where a frame starts, or when it was played */

export class JitterBuffer {
  read = 0; // positions in the ring
  written = 0;
  /** @type {Mark[]} */
  marks = []; // in the ring
  splicedRead = 0; // positions in `spliced`
  splicedEnd = 0;
  /** @type {Mark[]} */
  splicedMarks = [];
  wanted = 0; // samples to repeat (> 0) or to leave out (< 0)
  untilSplice = 0;
  gain = 0;
  concealedGain = 0; // when the concealment began
  started = false;
  filling = true;
  /** @type {number | null} */
  waitingSince = null; // first arrival of a fill, while filling
  underruns = 0;
  stretchedSamples = 0; // repeated or concealed
  compressedSamples = 0; // left out by time scale
  cutSamples = 0;

  /**
   * @param {number} rate
   * @param {number} frame samples of one frame
   */
  constructor(rate, frame) {
    this.frame = frame;
    this.slack = ms(20, rate);
    this.fade = ms(5, rate);
    this.repayable = ms(480, rate); // beyond the target: by time scale, the rest is cut
    this.urgent = ms(60, rate);
    this.pause = { urgent: ms(20, rate), gentle: ms(60, rate), search: ms(5, rate) };
    this.ring = new Float32Array(rate); // 1 s: above every bound
    this.estimator = new JitterEstimator(rate, frame);
    this.scale = new TimeScale(rate);
    this.concealment = new Concealment(rate, this.scale);
    this.scratch = new Float32Array(this.scale.reach);
    this.head = new Float32Array(this.scale.window);
    this.spliced = new Float32Array(3 * this.scale.most); // comes before the ring
  }

  /** Forgets what is unplayed and how it arrived; what is heard now fades. */
  reset() {
    if (this.started && !this.filling && this.depth) this.#conceal();
    this.started = false;
    this.read = this.written;
    this.marks = [];
    this.splicedMarks = [];
    this.splicedRead = 0;
    this.splicedEnd = 0;
    this.wanted = 0;
    this.untilSplice = 0;
    this.gain = 0;
    this.waitingSince = null;
    this.filling = true;
    this.estimator.reset();
  }

  get depth() {
    return this.written - this.read + this.splicedEnd - this.splicedRead;
  }

  get target() {
    return this.estimator.target;
  }

  get jitter() {
    return this.estimator.jitter;
  }

  /**
   * @param {Float32Array} samples
   * @param {number} seq
   * @param {number} now
   */
  push(samples, seq, now) {
    const lateness = this.estimator.arrived(seq, now);
    const margin = this.depth;
    if (this.filling && this.waitingSince === null) this.waitingSince = now;
    if (!this.filling && !margin) this.#resume(samples);
    const excess = margin - this.target - this.repayable;
    if (excess > 0) this.#cut(excess);
    this.marks.push({ seq, at: this.written });
    for (let i = 0; i < samples.length; i += 1) {
      this.ring[(this.written + i) % this.ring.length] = samples[i];
    }
    this.written += samples.length;
    if (!this.filling) this.#steer(margin, lateness);
  }

  /**
   * Fills `out`; returns the frames whose first sample went into it.
   * @param {Float32Array} out
   * @param {number} now
   */
  pull(out, now) {
    /** @type {Mark[]} */
    const passed = [];
    if (this.filling) this.#maybeStart(now);
    for (let i = 0; i < out.length; ) {
      this.#maybeSplice();
      let n = 0;
      if (this.splicedRead < this.splicedEnd) n = this.#playSpliced(out, i, now, passed);
      else if (!this.filling && this.read < this.written) n = this.#playRing(out, i, now, passed);
      else n = this.#playNothing(out, i);
      i += n;
    }
    return passed;
  }

  /**
   * @param {Float32Array} out
   * @param {number} i
   * @param {number} now
   * @param {Mark[]} passed
   */
  #playSpliced(out, i, now, passed) {
    const n = Math.min(out.length - i, this.splicedEnd - this.splicedRead);
    while (this.splicedMarks.length && this.splicedMarks[0].at < this.splicedRead + n) {
      const { seq, at } = /** @type {Mark} */ (this.splicedMarks.shift());
      passed.push({ seq, at: now + i + at - this.splicedRead });
    }
    for (let k = 0; k < n; k += 1) out[i + k] = this.#gained(this.spliced[this.splicedRead + k]);
    this.splicedRead += n;
    return n;
  }

  /**
   * @param {Float32Array} out
   * @param {number} i
   * @param {number} now
   * @param {Mark[]} passed
   */
  #playRing(out, i, now, passed) {
    const n = Math.min(out.length - i, this.written - this.read);
    while (this.marks.length && this.marks[0].at < this.read + n) {
      const { seq, at } = /** @type {Mark} */ (this.marks.shift());
      passed.push({ seq, at: now + i + at - this.read });
    }
    for (let k = 0; k < n; k += 1) {
      out[i + k] = this.#gained(this.ring[(this.read + k) % this.ring.length]);
    }
    this.read += n;
    this.untilSplice -= n;
    return n;
  }

  /**
   * @param {Float32Array} out
   * @param {number} i
   */
  #playNothing(out, i) {
    if (!this.filling && !this.concealment.active) this.#conceal();
    for (let k = i; k < out.length; k += 1) {
      const concealed = this.concealment.active;
      out[k] = concealed ? this.concealedGain * this.concealment.next() : 0;
      if (concealed && !this.filling) this.stretchedSamples += 1;
    }
    if (!this.filling && !this.concealment.active) this.#underrun();
    return out.length - i;
  }

  /** @param {number} sample */
  #gained(sample) {
    if (this.gain < 1) this.gain = Math.min(1, this.gain + 1 / this.fade);
    return sample * this.gain;
  }

  /** @param {number} now */
  #maybeStart(now) {
    if (this.waitingSince === null) return;
    const waited = now - this.waitingSince;
    if (waited < this.target && this.depth < this.frame + this.target) return;
    this.filling = false;
    this.started = true;
    this.concealment.stop();
    this.gain = 0;
    this.waitingSince = null;
  }

  #underrun() {
    this.underruns += 1;
    this.filling = true;
  }

  #conceal() {
    const { reach } = this.concealment;
    // The ring still holds what was played.
    for (let i = 0; i < reach; i += 1) this.scratch[i] = this.#at(this.read - 1 - i);
    this.concealment.begin(this.scratch);
    this.concealedGain = this.gain;
  }

  /**
   * The late frame takes over from the concealment.
   * @param {Float32Array} samples
   */
  #resume(samples) {
    for (let i = 0; i < this.fade && this.concealment.active; i += 1) {
      const w = fadeIn(i, this.fade);
      samples[i] = samples[i] * w + this.concealedGain * this.concealment.next() * (1 - w);
    }
    this.concealment.stop();
  }

  /**
   * Begins with a slack, so that small errors are left alone, and continues to the target.
   * @param {number} margin
   * @param {number} lateness
   */
  #steer(margin, lateness) {
    const { target, slack, wanted } = this;
    // The margin that a frame in time would have found; unknown after a stall.
    const level = margin + lateness;
    if (margin > target + (wanted < 0 ? 0 : slack)) this.wanted = target - margin;
    else if (level < target - (wanted > 0 ? 0 : slack / 2)) this.wanted = target - level;
    else this.wanted = 0;
  }

  #maybeSplice() {
    if (this.splicedRead < this.splicedEnd || this.filling) return;
    if (Math.abs(this.wanted) < this.scale.least || this.untilSplice > 0) return;
    const unplayed = this.written - this.read;
    // Below the target the next frame is late: nothing to give away.
    if (unplayed < Math.max(this.scale.reach, this.wanted < 0 ? this.target : 0)) return;
    for (let i = 0; i < this.scale.reach; i += 1) this.scratch[i] = this.#at(this.read + i);
    const { lag, likeness, quiet } = this.scale.period(this.scratch);
    const urgent = Math.abs(this.wanted) > this.urgent;
    if (!quiet && likeness < (urgent ? 0 : LIKENESS)) {
      this.untilSplice = this.pause.search;
      return;
    }
    this.#splice(lag);
    this.untilSplice = quiet ? 0 : urgent ? this.pause.urgent : this.pause.gentle;
  }

  /** @param {number} n */
  #splice(n) {
    const longer = this.wanted > 0;
    this.splicedRead = 0;
    this.splicedEnd = (longer ? lengthen : shorten)(this.scratch, n, this.spliced);
    while (this.marks.length && this.marks[0].at < this.read + 2 * n) {
      const { seq, at } = /** @type {Mark} */ (this.marks.shift());
      const from = at - this.read;
      const to = longer ? from + (from < n ? 0 : n) : from / 2;
      this.splicedMarks.push({ seq, at: to });
    }
    this.read += 2 * n;
    this.wanted += longer ? -n : n;
    if (longer) this.stretchedSamples += n;
    else this.compressedSamples += n;
  }

  /** @param {number} samples */
  #cut(samples) {
    const unplayed = this.written - this.read;
    const room = this.scale.most + this.scale.window;
    if (unplayed < samples + room) return;
    for (let i = 0; i < this.scale.window; i += 1) this.head[i] = this.#at(this.read + i);
    for (let i = 0; i < room; i += 1) this.scratch[i] = this.#at(this.read + samples + i);
    const n = samples + this.scale.match(this.head, this.scratch, 0, this.scale.most).lag;
    for (let i = 0; i < this.fade; i += 1) {
      const w = fadeIn(i, this.fade);
      const into = (this.read + n + i) % this.ring.length;
      this.ring[into] = this.#at(this.read + i) * (1 - w) + this.ring[into] * w;
    }
    this.read += n;
    this.cutSamples += n;
    // A frame whose beginning was cut out has no time at which it was heard.
    while (this.marks.length && this.marks[0].at < this.read) this.marks.shift();
  }

  /** @param {number} position */
  #at(position) {
    const size = this.ring.length;
    return this.ring[((position % size) + size) % size];
  }
}
