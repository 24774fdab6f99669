// Whether the microphone gives what a voice needs. Judges its frames of 80 ms by their
// levels; knows no audio graph and no page.
//
// What is quiet may be a person who listens, so that is told only until somebody was
// heard. Digital silence is told apart: no room is so still. But some devices and noise
// filters send it between words, and are left alone once they were seen to.

import { FRAMES_PER_SECOND } from "../shared/frames.js";

const SILENT_PEAK = 1e-5; // less than half a step of 16 bits
const SILENT_FRAMES = 3 * FRAMES_PER_SECOND;
const SILENT_AFTER_SPEECH = 6 * FRAMES_PER_SECOND;
const GATE_FRAMES = 3; // of digital silence between two words
const HEARD_DB = -52; // softer than that the model doesn't hear it
const HEARD_FRAMES = 3;
const QUIET_FRAMES = 6 * FRAMES_PER_SECOND;
const FULL_SCALE = 0.98;
const CLIPPED_PAIRS = 4; // neighbouring samples at full scale: a flat top
const WINDOW = 50; // frames, 4 s
const OVERDRIVEN = 12; // clipped ones among them
const RECOVERED = 2; // and when it is no longer said

/** { silent, loud, clipped } of one frame. */
export function measure(samples) {
  let [peak, power, pairs, before] = [0, 0, 0, false];
  for (const sample of samples) {
    const size = Math.abs(sample);
    if (size > peak) peak = size;
    power += size * size;
    const full = size > FULL_SCALE;
    if (full && before) pairs += 1;
    before = full;
  }
  const db = 10 * Math.log10(power / samples.length + 1e-12);
  return { silent: peak < SILENT_PEAK, loud: db > HEARD_DB, clipped: pairs >= CLIPPED_PAIRS };
}

export class Hearing {
  /** `onChange(problem)`: "silent", "quiet", "overdriven", or null when all is well. */
  constructor(onChange) {
    this.onChange = onChange;
    this.problem = null;
    this.reset();
  }

  /** Another microphone: nothing is known of it. */
  reset() {
    this.soundingFrames = 0; // that were no digital silence
    this.silentFrames = 0; // in a row, until now
    this.heardFrames = 0;
    this.gates = false;
    this.clipped = [];
    this.#say(null);
  }

  add(samples) {
    const { silent, loud, clipped } = measure(samples);
    if (!silent) this.soundingFrames += 1;
    if (loud) this.heardFrames += 1;
    if (!silent && this.heard && this.silentFrames >= GATE_FRAMES) this.gates = true;
    this.silentFrames = silent ? this.silentFrames + 1 : 0;
    this.clipped.push(clipped);
    if (this.clipped.length > WINDOW) this.clipped.shift();
    this.#say(this.#judge());
  }

  get heard() {
    return this.heardFrames >= HEARD_FRAMES;
  }

  #judge() {
    const clipped = this.clipped.filter(Boolean).length;
    const enough = this.problem === "overdriven" ? RECOVERED : OVERDRIVEN;
    if (clipped >= enough) return "overdriven";
    const bearable = this.heard ? SILENT_AFTER_SPEECH : SILENT_FRAMES;
    if (this.silentFrames >= bearable && !this.gates) return "silent";
    if (!this.heard && this.soundingFrames >= QUIET_FRAMES && !this.silentFrames) return "quiet";
    // Between digital silence and nothing much: what was said of it still holds.
    return this.heard ? null : this.problem;
  }

  #say(problem) {
    if (problem === this.problem) return;
    this.problem = problem;
    this.onChange(problem);
  }
}
