// Whether the microphone gives what a voice needs, judged by the levels of its frames of
// 80 ms. Works on samples alone.
//
// A quiet signal may be a person who listens, so that is reported only until the user has
// spoken. Digital silence is another matter: no room is so still. But some devices and noise
// filters send it between words; they are left alone once they have done so.

import { FRAMES_PER_SECOND } from "../shared/frames.js";

const SILENT_PEAK = 1e-5; // less than half a step of 16 bits
const SILENT_FRAMES = 3 * FRAMES_PER_SECOND;
const SILENT_AFTER_SPEECH = 6 * FRAMES_PER_SECOND;
const GATE_FRAMES = 3; // of digital silence between two words
const LOUD_DB = -52; // softer than that the model doesn't notice it
const SPOKEN_FRAMES = 3;
const QUIET_FRAMES = 6 * FRAMES_PER_SECOND;
const FULL_SCALE = 0.98;
const CLIPPED_PAIRS = 4; // neighbouring samples at full scale: a flat top
const WINDOW = 50; // frames, 4 s
const OVERDRIVEN = 12; // clipped ones among them
const RECOVERED = 2; // and when it is no longer reported

/**
 * What one frame is like.
 * @param {Float32Array} samples
 */
export function measure(samples) {
  let [peak, power, pairs] = [0, 0, 0];
  let before = false;
  for (const sample of samples) {
    const size = Math.abs(sample);
    if (size > peak) peak = size;
    power += size * size;
    const full = size > FULL_SCALE;
    if (full && before) pairs += 1;
    before = full;
  }
  const db = 10 * Math.log10(power / samples.length + 1e-12);
  return { silent: peak < SILENT_PEAK, loud: db > LOUD_DB, clipped: pairs >= CLIPPED_PAIRS };
}

/** @typedef {"silent" | "quiet" | "overdriven"} SignalProblem */

export class MicrophoneSignal {
  soundingFrames = 0; // that were no digital silence
  silentFrames = 0; // in a row, until now
  loudFrames = 0;
  gates = false; // the device sends digital silence between words
  /** @type {boolean[]} */
  clipped = []; // whether each of the newest frames was

  /** @param {(problem: SignalProblem | null) => void} onChange null: all is well */
  constructor(onChange) {
    this.onChange = onChange;
    /** @type {SignalProblem | null} */
    this.problem = null;
    this.reset();
  }

  /** Another microphone: nothing is known of it. */
  reset() {
    this.soundingFrames = 0;
    this.silentFrames = 0;
    this.loudFrames = 0;
    this.gates = false;
    this.clipped = [];
    this.#report(null);
  }

  /** @param {Float32Array} samples */
  add(samples) {
    const { silent, loud, clipped } = measure(samples);
    if (!silent) this.soundingFrames += 1;
    if (loud) this.loudFrames += 1;
    if (!silent && this.spoken && this.silentFrames >= GATE_FRAMES) this.gates = true;
    this.silentFrames = silent ? this.silentFrames + 1 : 0;
    this.clipped.push(clipped);
    if (this.clipped.length > WINDOW) this.clipped.shift();
    this.#report(this.#judge());
  }

  get spoken() {
    return this.loudFrames >= SPOKEN_FRAMES;
  }

  /** @returns {SignalProblem | null} */
  #judge() {
    const clipped = this.clipped.filter(Boolean).length;
    const enough = this.problem === "overdriven" ? RECOVERED : OVERDRIVEN;
    if (clipped >= enough) return "overdriven";
    const bearable = this.spoken ? SILENT_AFTER_SPEECH : SILENT_FRAMES;
    if (this.silentFrames >= bearable && !this.gates) return "silent";
    if (!this.spoken && this.soundingFrames >= QUIET_FRAMES && !this.silentFrames) return "quiet";
    // Between digital silence and nothing much: the earlier verdict still holds.
    return this.spoken ? null : this.problem;
  }

  /** @param {SignalProblem | null} problem */
  #report(problem) {
    if (problem === this.problem) return;
    this.problem = problem;
    this.onChange(problem);
  }
}
