// The samples between arrival and loudspeaker. Runs in the playback worklet; knows no
// Web Audio, so that it can be tested as it is. Times are in samples of one clock.
//
// Frames arrive in lumps of 80 ms. `margin` is what should still be unplayed when the
// next lump arrives: 40 … 120 ms, following the measured jitter. Output is clocked by
// the microphone (one answer per user frame), so margin never drifts by itself: it
// only jumps, when the network or the engine stalls.
//
// - too early (margin above its bound, or above its target for 2 s): the oldest samples
//   are dropped with a cross-fade, and counted: lateness is repaid, never carried;
// - too late: the sound fades out, waits until the margin is there again, fades in.

const ms = (n, rate) => Math.round((n * rate) / 1000);
const JITTER_FRAMES = 64; // window of arrivals, about 5 s
const CALM_FRAMES = 25; // the margin must be too wide for 2 s before it is trimmed

export class JitterBuffer {
  constructor(rate, frame) {
    this.rate = rate;
    this.frame = frame; // samples of one lump
    this.least = ms(40, rate);
    this.most = ms(120, rate);
    this.slack = ms(20, rate);
    this.fade = ms(5, rate);
    this.ring = new Float32Array(rate); // 1 s: far above every bound
    this.read = 0;
    this.written = 0;
    this.marks = []; // where each frame starts, as { seq, at }
    this.arrivals = []; // arrival time minus nominal time
    this.margins = [];
    this.target = this.least;
    this.gain = 0;
    this.waitingSince = null; // first arrival of a fill, while filling
    this.filling = true;
    this.started = false;
    this.underruns = 0;
    this.droppedSamples = 0;
  }

  get depth() {
    return this.written - this.read;
  }

  push(samples, seq, now) {
    this.#measure(seq, now);
    const margin = this.depth;
    if (this.filling && this.waitingSince === null) this.waitingSince = now;
    this.marks.push({ seq, at: this.written });
    for (let i = 0; i < samples.length; i += 1) {
      this.ring[(this.written + i) % this.ring.length] = samples[i];
    }
    this.written += samples.length;
    if (margin > this.most) this.#drop(margin - this.target);
    else if (!this.filling) this.#trim(margin);
  }

  /** Fills `out`; returns the frames whose first sample went into it. */
  pull(out, now) {
    if (this.filling) this.#maybeStart(now);
    for (let i = 0; i < out.length; i += 1) {
      const left = this.filling ? 0 : this.depth;
      // Slewing towards 0 as the end comes near makes an underrun a fade by itself.
      const step = 1 / this.fade;
      this.gain = left > this.fade ? Math.min(1, this.gain + step) : Math.max(0, this.gain - step);
      out[i] = left ? this.ring[this.read % this.ring.length] * this.gain : 0;
      if (left) this.read += 1;
    }
    if (!this.filling && this.depth === 0) this.#underrun();
    return this.#passedMarks(now + out.length);
  }

  #maybeStart(now) {
    if (this.waitingSince === null) return;
    const waited = now - this.waitingSince;
    if (waited < this.target && this.depth < this.frame + this.target) return;
    this.filling = false;
    this.started = true;
    this.waitingSince = null;
    this.margins.length = 0;
  }

  #underrun() {
    this.underruns += 1;
    this.filling = true;
    this.gain = 0;
  }

  #measure(seq, now) {
    this.arrivals.push(now - seq * this.frame);
    if (this.arrivals.length > JITTER_FRAMES) this.arrivals.shift();
    const sorted = Float64Array.from(this.arrivals).sort();
    const spread = sorted[Math.floor(0.97 * (sorted.length - 1))] - sorted[0];
    this.jitter = spread;
    this.target = Math.max(this.least, Math.min(this.most, spread + this.slack));
  }

  #trim(margin) {
    this.margins.push(margin);
    if (this.margins.length > CALM_FRAMES) this.margins.shift();
    if (this.margins.length < CALM_FRAMES) return;
    const spare = Math.min(...this.margins) - this.target;
    if (spare > this.slack) this.#drop(spare);
  }

  #drop(samples) {
    const n = Math.min(Math.max(samples, this.fade), this.depth - this.fade);
    if (n < this.fade) return;
    const size = this.ring.length;
    for (let i = 0; i < this.fade; i += 1) {
      const t = (i + 1) / (this.fade + 1);
      const into = (this.read + n + i) % size;
      this.ring[into] = this.ring[(this.read + i) % size] * (1 - t) + this.ring[into] * t;
    }
    this.read += n;
    this.droppedSamples += n;
    // A frame whose beginning was dropped has no time at which it was heard.
    while (this.marks.length && this.marks[0].at < this.read) this.marks.shift();
    this.margins.length = 0;
  }

  #passedMarks(now) {
    const passed = [];
    while (this.marks.length && this.marks[0].at < this.read) {
      const { seq, at } = this.marks.shift();
      passed.push({ seq, at: now - (this.read - at) });
    }
    return passed;
  }
}
