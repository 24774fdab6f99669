// Counts down to the next attempt.

export class Retry {
  /** @type {number | null} */
  timer = null;

  /**
   * @param {(secondsLeft: number | null) => void} tick each second; null when stopped
   * @param {() => void} go at the end
   */
  constructor(tick, go) {
    this.tick = tick;
    this.go = go;
  }

  /** @param {number} seconds */
  start(seconds) {
    this.stop();
    let left = Math.max(1, Math.ceil(seconds));
    this.tick(left);
    this.timer = setInterval(() => {
      left -= 1;
      if (left > 0) {
        this.tick(left);
        return;
      }
      this.stop();
      this.go();
    }, 1000);
  }

  stop() {
    if (this.timer === null) return;
    clearInterval(this.timer);
    this.timer = null;
    this.tick(null);
  }
}
