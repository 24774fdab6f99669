// The panel of recorded questions, for people without a microphone. It fetches the sound and
// passes it on to be played.

import { byId, make, setText } from "../shared/dom.js";

/** @typedef {{ text: string, file: string }} Question */

export class SamplesPanel {
  /** @type {HTMLButtonElement[]} */
  buttons = [];
  /** @type {HTMLButtonElement | null} */
  playing = null;

  /**
   * @param {string} folder of samples.json and its files
   * @param {object} actions
   * @param {(bytes: ArrayBuffer, onEnd: () => void) => Promise<void>} actions.play rejects on
   *   bad sound
   * @param {() => void} actions.stop
   * @param {() => void} actions.failed
   */
  constructor(folder, { play, stop, failed }) {
    this.folder = folder;
    this.play = play;
    this.stop = stop;
    this.failed = failed;
    this.panel = byId("samples-panel", HTMLDetailsElement);
    this.ready = this.#load();
  }

  get available() {
    return this.buttons.length > 0;
  }

  async #load() {
    try {
      const response = await fetch(`${this.folder}samples.json`);
      /** @type {{ questions?: Question[] }} */
      const { questions = [] } = response.ok ? await response.json() : {};
      this.buttons = questions.map((question) => this.#button(question));
    } catch {
      // None were shipped: the panel stays hidden.
    }
    byId("samples").replaceChildren(...this.buttons.map((button) => make("li", {}, button)));
    this.panel.hidden = !this.available;
  }

  /** @param {Question} question */
  #button({ text, file }) {
    const button = make("button", { type: "button", className: "button sample", textContent: text });
    button.disabled = true;
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => this.#press(button, file));
    return button;
  }

  /**
   * @param {HTMLButtonElement} button
   * @param {string} file
   */
  async #press(button, file) {
    if (button === this.playing) {
      this.stop();
      return;
    }
    this.stop();
    this.playing = button;
    button.setAttribute("aria-pressed", "true");
    const over = () => {
      if (this.playing === button) this.playing = null;
      button.setAttribute("aria-pressed", "false");
    };
    try {
      const response = await fetch(this.folder + file);
      if (!response.ok) throw new Error(`${response.status}`);
      const bytes = await response.arrayBuffer();
      if (this.playing === button) await this.play(bytes, over);
    } catch {
      over();
      this.failed();
    }
  }

  /**
   * Questions can be played only during a conversation.
   * @param {boolean} live
   */
  enable(live) {
    for (const button of this.buttons) button.disabled = !live;
    setText(
      byId("samples-hint"),
      live
        ? "Press one: it is played into the conversation in place of the microphone."
        : "No microphone at hand? Start, then let one of these voices ask for you.",
    );
  }

  open() {
    this.panel.open = true;
  }
}
