// What the live page knows of one conversation beside its state, and its timers.

/**
 * @import { SignalProblem } from "./microphone_signal.js"
 * @import { WaitingEvent } from "./protocol.js"
 */

export class Details {
  /** @type {"asking" | "open" | "none"} */
  microphone = "asking";
  muted = false;
  paused = false; // the browser has stopped the sound
  echoNoticed = false;
  /** @type {SignalProblem | null} */
  signal = null;
  /** @type {WaitingEvent | null} */
  place = null; // in the queue
  /** @type {number | undefined} */
  expected; // seconds of the recovery
  keptUntil = 0; // while resuming, in ms since 1970
  /** @type {number | null} */
  liveSince = null; // first `ready`, by performance.now()
  context = { seconds: 0, at: 0 }; // what was left of it, and when
  /** @type {number | null} */
  lostAt = null; // by performance.now(): the agent stands still since then

  /** The time that counts for the conversation, in ms. */
  now() {
    return this.lostAt ?? performance.now();
  }

  /** It is there again: what passed meanwhile was no time of the conversation. */
  found() {
    if (this.lostAt !== null && this.liveSince !== null) {
      this.liveSince += performance.now() - this.lostAt;
    }
    this.lostAt = null;
  }

  /** @type {number | undefined} */
  primingTimer;
  /** @type {number | undefined} */
  pausedTimer;
  /** @type {number | undefined} */
  rewindTimer;
  /** @type {number | undefined} */
  factsTimer;
  /** @type {number | undefined} */
  levelsTimer;

  stopTimers() {
    clearTimeout(this.primingTimer);
    clearTimeout(this.pausedTimer);
    clearTimeout(this.rewindTimer);
    clearInterval(this.factsTimer);
    clearInterval(this.levelsTimer);
  }
}
