// How long an answer takes, from the last sample of a user frame in the microphone to
// the first sample of its answer at the loudspeaker. Pure arithmetic on times given to it.

import { RollingWindow } from "../shared/stats.js";

const WINDOW = 25; // frames, 2 s
const FORGET_AFTER = 250; // frames without an answer, 20 s

/** @typedef {{ tripMs: number, pathMs: number }} Answer */
/** @typedef {{ capturedAt: number, sentAt: number, answer: Answer | null }} WaitingFrame */
/** @typedef {Record<"totalMs" | "tripMs" | "pathMs" | "bufferMs" | "deviceMs", number>} Latency */

export class LatencyMeter {
  /** @type {Map<number, WaitingFrame>} */
  waiting = new Map(); // by seq

  /** @param {number} rate of the audio clock */
  constructor(rate) {
    this.rate = rate;
    this.total = new RollingWindow(WINDOW);
    this.trip = new RollingWindow(WINDOW);
    this.path = new RollingWindow(WINDOW);
    this.buffer = new RollingWindow(WINDOW);
  }

  /**
   * @param {number} seq
   * @param {number} capturedAt in samples of the audio clock
   * @param {number} now in ms
   */
  sent(seq, capturedAt, now) {
    this.waiting.set(seq, { capturedAt, sentAt: now, answer: null });
    this.waiting.delete(seq - FORGET_AFTER);
  }

  /**
   * @param {number} seq
   * @param {number} pathMs
   * @param {number} now in ms
   */
  received(seq, pathMs, now) {
    const frame = this.waiting.get(seq);
    if (frame) frame.answer = { tripMs: now - frame.sentAt, pathMs };
  }

  /**
   * @param {number} seq
   * @param {number} playedAt in samples of the same audio clock
   */
  played(seq, playedAt) {
    const frame = this.waiting.get(seq);
    if (!frame?.answer) return;
    const { tripMs, pathMs } = frame.answer;
    this.waiting.delete(seq);
    const total = (1000 * (playedAt - frame.capturedAt)) / this.rate;
    this.total.add(total);
    this.trip.add(tripMs);
    this.path.add(pathMs);
    this.buffer.add(Math.max(0, total - tripMs));
  }

  /**
   * Medians over the last 2 s, or null before the first answer.
   * @param {number} deviceMs what the sound devices and the codec add outside of what we
   *   can time
   * @returns {Latency | null}
   */
  summary(deviceMs) {
    const total = this.total.percentile(50);
    const tripMs = this.trip.percentile(50);
    const pathMs = this.path.percentile(50);
    const bufferMs = this.buffer.percentile(50);
    if (total === null || tripMs === null || pathMs === null || bufferMs === null) return null;
    return { totalMs: total + deviceMs, tripMs, pathMs, bufferMs, deviceMs };
  }
}
