// Keeps the screen on while a conversation is live, where the browser can.

export class WakeLock {
  wanted = false;
  /** @type {WakeLockSentinel | null} */
  lock = null;

  constructor() {
    document.addEventListener("visibilitychange", () => this.#renew());
  }

  hold() {
    this.wanted = true;
    this.#renew();
  }

  release() {
    this.wanted = false;
    this.lock?.release();
    this.lock = null;
  }

  // The browser takes the lock away when the page is hidden.
  async #renew() {
    if (!this.wanted || document.visibilityState !== "visible") return;
    try {
      const lock = (await navigator.wakeLock?.request("screen")) ?? null;
      if (this.wanted) this.lock = lock;
      else lock?.release();
    } catch {
      // Refused, for example on low battery: the conversation continues without it.
    }
  }
}
