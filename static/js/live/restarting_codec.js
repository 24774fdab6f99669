// Keeps a codec running: one that fails is replaced by a new one, a few times. What it
// encodes or decodes does not matter here.

const MAX_FAILURES = 3;
const WITHIN_MS = 60_000;

/** @template {{ close(): void }} C */
export class RestartingCodec {
  /** @type {C | null} */
  codec = null;
  /** @type {number[]} */
  failedAt = []; // in ms, within the last minute

  /**
   * @param {(onFailure: () => void) => C} make
   * @param {() => void} onGivenUp called after 3 failures within a minute
   */
  constructor(make, onGivenUp, now = () => performance.now()) {
    this.make = make;
    this.onGivenUp = onGivenUp;
    this.now = now;
    this.#open();
  }

  #open() {
    /** @type {C | null} */
    let codec = null;
    const failed = () => {
      if (this.codec === codec) this.#failed();
    };
    try {
      codec = this.make(failed);
      this.codec = codec;
    } catch {
      this.#failed();
    }
  }

  #failed() {
    const now = this.now();
    this.failedAt = [...this.failedAt.filter((at) => now - at < WITHIN_MS), now];
    this.close();
    if (this.failedAt.length < MAX_FAILURES) this.#open();
    else this.onGivenUp();
  }

  /**
   * Lets the codec do something; false when it failed or dropped what it was given.
   * @param {(codec: C) => boolean} use
   */
  run(use) {
    if (!this.codec) return false;
    try {
      return use(this.codec);
    } catch {
      this.#failed();
      return false;
    }
  }

  close() {
    const { codec } = this;
    this.codec = null;
    try {
      codec?.close();
    } catch {
      // It had failed already.
    }
  }
}
