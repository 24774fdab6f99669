// A codec that is made anew when it fails. Knows no audio.

const MAX_FAILURES = 3;
const WITHIN_MS = 60_000;

export class Mended {
  /** `make(onFailure)` gives a codec; `givenUp()` after 3 failures within a minute. */
  constructor(make, givenUp, now = () => performance.now()) {
    Object.assign(this, { make, givenUp, now });
    this.failedAt = [];
    this.failures = 0;
    this.#open();
  }

  #open() {
    const failed = () => this.codec === codec && this.#failed();
    let codec = null;
    try {
      codec = this.make(failed);
      this.codec = codec;
    } catch {
      this.#failed();
    }
  }

  #failed() {
    const now = this.now();
    this.failures += 1;
    this.failedAt = [...this.failedAt.filter((at) => now - at < WITHIN_MS), now];
    this.close();
    if (this.failedAt.length < MAX_FAILURES) this.#open();
    else this.givenUp();
  }

  /** Calls a method of the codec; false when it failed or dropped what it was given. */
  run(method, ...values) {
    if (!this.codec) return false;
    try {
      return this.codec[method](...values);
    } catch {
      this.#failed();
      return false;
    }
  }

  get kind() {
    return this.codec?.kind;
  }

  close() {
    const { codec } = this;
    this.codec = null;
    try {
      codec?.close();
    } catch {
      // It was broken already.
    }
  }
}
