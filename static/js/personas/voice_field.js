// A voice sample from a file or a recording. What is used ends up in the file input,
// so the form sends it like any file. The site checks all of this again.

/** @import { Take } from "./recorder.js" */

import { dataOf, find } from "../shared/dom.js";
import { clock, tenthsAbove, tenthsBelow } from "../shared/format.js";
import { Recorder, canRecord, microphoneProblem } from "./recorder.js";

const QUIET_BELOW = 0.25; // of the meter
const NOTHING_SECONDS = 0.1; // a header with hardly anything behind it
const GOOD_SECONDS = 8;
const SPARE_SECONDS = 1; // a recording ends so long before the limit

export class VoiceField {
  problem = "";
  /** @type {Take | null} */
  take = null;
  /** @type {Recorder | null} */
  recorder = null;
  /** @type {number | undefined} */
  limit; // timer
  loudest = 0; // level of the recording

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.input = find(root, "input[type=file]", HTMLInputElement);
    this.least = Number(dataOf(root, "leastSeconds"));
    this.most = Number(dataOf(root, "mostSeconds"));
    this.mostBytes = Number(dataOf(root, "mostBytes"));
    this.tolerance = Number(dataOf(root, "toleranceSeconds"));
    this.input.addEventListener("change", () => this.check());
    if (canRecord()) this.showRecorder();
  }

  get file() {
    return this.input.files?.[0] ?? null;
  }

  /**
   * @template {HTMLElement} [E=HTMLElement]
   * @param {string} name
   * @param {new () => E} [kind]
   */
  part(name, kind) {
    return find(this.root, `[data-${name}]`, kind);
  }

  /** @param {string} name */
  button(name) {
    return this.part(name, HTMLButtonElement);
  }

  /** Says what is wrong with the file as far as it shows here; "" when nothing is. */
  async check() {
    const file = this.file;
    this.showProblem(file ? this.sizeProblem(file) : "");
    if (file && !this.problem) {
      const seconds = await duration(file);
      if (this.file === file) this.showProblem(this.lengthProblem(seconds));
    }
    return this.problem;
  }

  /** @param {string} problem */
  showProblem(problem) {
    this.problem = problem;
    const line = this.part("voice-error");
    line.textContent = problem;
    line.hidden = !problem;
    this.input.setAttribute("aria-invalid", String(Boolean(problem)));
  }

  /** @param {File} file */
  sizeProblem(file) {
    if (file.size === 0) return "This file is empty. Choose a recording of 8 to 12 s.";
    if (file.size <= this.mostBytes) return "";
    const [size, most] = [megabytes(file.size), megabytes(this.mostBytes)];
    return (
      `This file is ${size}; a voice sample may have at most ${most}. ` +
      "Send a shorter piece, or save it as FLAC, MP3 or Ogg."
    );
  }

  /** @param {number | null} seconds null where the browser does not know */
  lengthProblem(seconds) {
    if (seconds === null) return "";
    if (seconds < NOTHING_SECONDS) return "This file is damaged or empty: there is no sound in it.";
    const begins = (/** @type {string} */ shown) => `This file is ${shown} s long; a voice sample`;
    if (this.isShort(seconds)) {
      return `${begins(tenthsBelow(seconds))} needs at least ${this.least} s. 8 to 12 s are best.`;
    }
    if (seconds > this.most + this.tolerance) {
      return `${begins(tenthsAbove(seconds))} may have at most ${this.most} s. Cut out 8 to 12 s.`;
    }
    return "";
  }

  /**
   * The site takes what is shorter by no more than its tolerance.
   * @param {number} seconds
   */
  isShort(seconds) {
    return seconds < this.least - this.tolerance;
  }

  /** Whether a recording runs, or was made and neither used nor discarded. */
  get pending() {
    return this.recorder !== null || !this.part("take").hidden;
  }

  /**
   * Before the form is sent: a recording that was not discarded is meant, whether or not
   * its button was pressed; one that still runs ends here. As `check` says what is wrong.
   */
  async settle() {
    await this.stop();
    if (this.take && this.pending) {
      if (this.isShort(this.take.seconds)) {
        this.showProblem(`Your recording is too short; ${this.least} s are needed. Record again or discard it.`);
        return this.problem;
      }
      this.use();
    }
    return this.check();
  }

  clear() {
    this.input.value = "";
    this.showProblem("");
  }

  // The recorder

  showRecorder() {
    this.part("recorder").hidden = false;
    this.part("record").addEventListener("click", () => this.record());
    this.part("stop").addEventListener("click", () => this.stop());
    this.part("use").addEventListener("click", () => this.use());
    this.part("discard").addEventListener("click", () => this.discard());
  }

  async record() {
    this.discard();
    this.button("record").disabled = true;
    try {
      this.recorder = await Recorder.begin();
    } catch (error) {
      this.hint(microphoneProblem(/** @type {DOMException} */ (error)));
      return;
    } finally {
      this.button("record").disabled = false;
    }
    this.showRecording(true);
    // A timer: nothing is drawn, so nothing would be counted, while the page is hidden.
    const longest = Math.max(this.most - SPARE_SECONDS, this.least);
    this.limit = setTimeout(() => this.stop(), longest * 1000);
    this.loudest = 0;
    this.part("stop").focus();
    this.draw();
  }

  draw() {
    if (!this.recorder) return;
    const seconds = this.recorder.seconds;
    const level = this.recorder.level();
    this.loudest = Math.max(this.loudest, level);
    this.part("level", HTMLMeterElement).value = level;
    this.part("clock").textContent = clock(seconds);
    this.hint(this.advice(seconds));
    requestAnimationFrame(() => this.draw());
  }

  /** @param {number} seconds */
  advice(seconds) {
    if (seconds > 2 && this.loudest < QUIET_BELOW) return "Very quiet. Come closer or check the microphone.";
    if (seconds < GOOD_SECONDS) return "Speak normally: tell what you did today.";
    return "That is enough; stop when your sentence ends.";
  }

  async stop() {
    const recorder = this.recorder;
    if (!recorder) return;
    this.recorder = null;
    clearTimeout(this.limit);
    const take = await recorder.stop();
    this.take = take;
    this.showRecording(false);
    const short = this.isShort(take.seconds);
    this.hint(short ? `${tenthsBelow(take.seconds)} s is too short; ${this.least} s are needed.` : "Listen. It is used unless you discard it.");
    this.button("use").disabled = short;
    this.player.src = URL.createObjectURL(take.file);
    this.part("take").hidden = false;
    this.part("record").textContent = "Record again";
    (short ? this.part("record") : this.part("use")).focus();
  }

  get player() {
    return this.part("listen", HTMLAudioElement);
  }

  use() {
    if (!this.take) return;
    const files = new DataTransfer();
    files.items.add(this.take.file);
    this.input.files = files.files;
    const { seconds } = this.take;
    this.showProblem(this.sizeProblem(this.take.file));
    this.part("take").hidden = true;
    this.hint(`Your recording of ${seconds.toFixed(1)} s is ready to be sent.`);
    this.root.dispatchEvent(new CustomEvent("voiceready", { bubbles: true }));
  }

  discard() {
    if (this.take) {
      URL.revokeObjectURL(this.player.src);
      this.showProblem("");
    }
    this.take = null;
    this.part("take").hidden = true;
    this.hint("");
  }

  /** @param {boolean} on */
  showRecording(on) {
    this.part("record").hidden = on;
    for (const name of ["stop", "clock", "level"]) this.part(name).hidden = !on;
  }

  /** @param {string} text */
  hint(text) {
    const line = this.part("recorder-hint");
    if (line.textContent !== text) line.textContent = text;
  }
}

/**
 * Seconds of a sound file as the browser reads it; null if it does not know.
 * @param {File} file
 * @returns {Promise<number | null>}
 */
function duration(file) {
  return new Promise((resolve) => {
    const url = URL.createObjectURL(file);
    const audio = new Audio();
    const done = (/** @type {number | null} */ seconds) => {
      URL.revokeObjectURL(url);
      resolve(seconds !== null && Number.isFinite(seconds) && seconds > 0 ? seconds : null);
    };
    audio.onloadedmetadata = () => done(audio.duration);
    audio.onerror = () => done(null);
    setTimeout(() => done(null), 2000);
    audio.preload = "metadata";
    audio.src = url;
  });
}

/** @param {number} bytes */
function megabytes(bytes) {
  return bytes >= 2 ** 20 ? `${Math.round(bytes / 2 ** 20)} MB` : `${Math.round(bytes / 1024)} kB`;
}
