// How long an answer takes, from the last sample of a user frame in the microphone to
// the first sample of its answer at the loudspeaker. Knows no page and no sockets.

import { RollingWindow } from "../shared/stats.js";

const WINDOW = 25; // frames, 2 s
const FORGET_AFTER = 250; // frames without an answer, 20 s

export class LatencyMeter {
  constructor(rate) {
    this.rate = rate;
    this.waiting = new Map(); // seq → what is known of the frame so far
    this.total = new RollingWindow(WINDOW);
    this.trip = new RollingWindow(WINDOW);
    this.path = new RollingWindow(WINDOW);
    this.buffer = new RollingWindow(WINDOW);
  }

  /** `capturedAt` in samples of the audio clock, `now` in ms. */
  sent(seq, capturedAt, now) {
    this.waiting.set(seq, { capturedAt, sentAt: now });
    this.waiting.delete(seq - FORGET_AFTER);
  }

  received(seq, pathMs, now) {
    const frame = this.waiting.get(seq);
    if (!frame) return;
    frame.trip = now - frame.sentAt;
    frame.path = pathMs;
    frame.receivedAt = now;
  }

  /** `playedAt` in samples of the same audio clock. */
  played(seq, playedAt) {
    const frame = this.waiting.get(seq);
    if (!frame || frame.receivedAt === undefined) return;
    this.waiting.delete(seq);
    const total = (1000 * (playedAt - frame.capturedAt)) / this.rate;
    this.total.add(total);
    this.trip.add(frame.trip);
    this.path.add(frame.path);
    this.buffer.add(Math.max(0, total - frame.trip));
  }

  /** Medians over the last 2 s, or null before the first answer. `deviceMs`: what the
   * sound devices and the codec add outside of what we can time. */
  summary(deviceMs) {
    if (!this.total.length) return null;
    return {
      totalMs: this.total.percentile(50) + deviceMs,
      tripMs: this.trip.percentile(50),
      pathMs: this.path.percentile(50),
      bufferMs: this.buffer.percentile(50),
      deviceMs,
    };
  }
}
