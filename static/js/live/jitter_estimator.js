// How unevenly frames arrive, and the margin against it. Times are in samples of one
// clock. A stall is not jitter: a margin against it would only add delay afterwards.

const WINDOW = 64; // arrivals, about 5 s
const SETTLING = 25; // arrivals in which lateness of the very first ones may show
const IN_TIME = 0.97; // of the arrivals are in time with the margin

export class JitterEstimator {
  /** @type {number[]} */
  arrivals = []; // arrival time minus nominal time
  earliest = 0;
  jitter = 0;
  /** @type {number | null} */
  stalledSince = null;

  /**
   * @param {number} rate
   * @param {number} frame samples of one frame
   */
  constructor(rate, frame) {
    const samples = (/** @type {number} */ ms) => Math.round((ms * rate) / 1000);
    this.frame = frame;
    this.least = this.target = samples(40);
    this.most = samples(120);
    this.slack = samples(20);
    this.stall = samples(240); // later than that no margin of ours could help
    this.settled = samples(2000); // a stall that lasts this long is the new normal
    this.reset();
  }

  reset() {
    this.arrivals = [];
    this.earliest = 0;
    this.jitter = 0;
    this.target = this.least;
    this.stalledSince = null;
  }

  /**
   * Takes an arrival in; returns how much later it is than the earliest of late.
   * @param {number} seq
   * @param {number} now
   */
  arrived(seq, now) {
    const arrival = now - seq * this.frame;
    if (this.#isStalled(arrival, now)) return arrival - this.earliest;
    // It began with a lump of old frames, as after a reconnect: not jitter either.
    const young = this.arrivals.length < SETTLING;
    if (young && arrival < this.earliest - this.slack) this.arrivals = [];
    this.arrivals.push(arrival);
    if (this.arrivals.length > WINDOW) this.arrivals.shift();
    const sorted = Float64Array.from(this.arrivals).sort();
    this.earliest = sorted[0];
    this.jitter = sorted[Math.floor(IN_TIME * (sorted.length - 1))] - sorted[0];
    this.target = Math.max(this.least, Math.min(this.most, this.jitter + this.slack));
    return arrival - this.earliest;
  }

  /**
   * From the first frame that is far too late until frames are in time again.
   * @param {number} arrival
   * @param {number} now
   */
  #isStalled(arrival, now) {
    if (!this.arrivals.length) return false;
    const lateness = arrival - this.earliest;
    if (lateness > this.stall) this.stalledSince ??= now;
    if (this.stalledSince === null) return false;
    if (lateness > this.slack && now - this.stalledSince < this.settled) return true;
    if (lateness > this.slack) this.reset();
    this.stalledSince = null;
    return false;
  }
}
