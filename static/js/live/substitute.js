// Keeps a conversation's clock going while the browser has stopped the sound, as it does
// during a phone call: a frame of silence is due every 80 ms. It only counts the frames;
// uplink.js sends them.
//
// The ticks come from a worker: in a hidden page the timers of the page itself come once a
// second or once a minute. What is late is caught up a little, the rest is left out, so that
// the site never gets a burst.

import { FRAME_MS } from "../shared/frames.js";

const MAX_AT_ONCE = 12; // frames; the site takes bursts of 2 s, which are 25

export class Substitute {
  /** @type {Worker | null} */
  worker = null;
  next = 0; // when the next frame is due

  /**
   * @param {string} clock address of worklets/clock.js
   * @param {(sent: number, leftOut: number) => void} due gets numbers of frames
   */
  constructor(clock, due, now = () => performance.now()) {
    this.clock = clock;
    this.due = due;
    this.now = now;
  }

  get running() {
    return Boolean(this.worker);
  }

  start() {
    if (this.worker) return;
    this.next = this.now() + FRAME_MS;
    this.worker = new Worker(this.clock);
    this.worker.onmessage = () => this.tick();
    this.worker.postMessage(FRAME_MS);
  }

  tick() {
    const late = Math.floor((this.now() - this.next) / FRAME_MS) + 1;
    if (late <= 0) return;
    this.next += late * FRAME_MS;
    const sent = Math.min(late, MAX_AT_ONCE);
    this.due(sent, late - sent);
  }

  stop() {
    this.worker?.terminate();
    this.worker = null;
  }
}
