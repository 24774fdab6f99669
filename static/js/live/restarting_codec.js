// A codec that is replaced by a new one when it fails. Knows no audio.

const MAX_FAILURES = 3;
const WITHIN_MS = 60_000;

export class RestartingCodec {
  /** `make(onFailure)` gives a codec; `onGivenUp()` after 3 failures within a minute. */
  constructor(make, onGivenUp, now = () => performance.now()) {
    Object.assign(this, { make, onGivenUp, now });
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
    else this.onGivenUp();
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
      // It had failed already.
    }
  }
}
