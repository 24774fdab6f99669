// Asks the site how many tokens a role prompt has and how many fit, and shows it. One
// question at a time, and only after a pause in writing.

import { csrfToken } from "../shared/csrf.js";
import { dataOf, find, setShown, setText } from "../shared/dom.js";

/** @typedef {{ tokens?: number | null, fits?: number | null, hint?: string, plain?: string }} Room */

const PAUSE_MS = 500;

export class PromptRoom {
  asking = false;
  /** @type {string | null} */
  asked = null; // what the figures that are shown were for
  plain = "";
  /** @type {number | undefined} */
  timer;

  /**
   * @param {HTMLElement} root
   * @param {(text: string) => void} usePlain puts other text in the place of what was written
   */
  constructor(root, usePlain) {
    this.url = dataOf(root, "room");
    this.text = find(root, "textarea", HTMLTextAreaElement);
    this.part = (/** @type {string} */ name) => find(root, `[data-${name}]`);
    this.part("use-plain").addEventListener("click", () => usePlain(this.plain));
  }

  /** Soon, once nothing more is written for a moment. */
  ask() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#ask(), PAUSE_MS);
  }

  async #ask() {
    const fields = this.#fields();
    const question = fields.toString();
    if (this.asking || question === this.asked) return; // the answer to come asks again
    this.asking = true;
    const room = this.text.value ? await answer(this.url, fields) : {};
    this.asking = false;
    this.asked = question;
    this.#show(room);
    if (this.#fields().toString() !== question) this.ask();
  }

  #fields() {
    const elements = this.text.form?.elements;
    const choice = elements?.namedItem("voice_choice");
    const voice = elements?.namedItem("voice");
    return new URLSearchParams({
      role_prompt: this.text.value,
      voice_choice: choice && "value" in choice ? choice.value : "",
      recording: voice instanceof HTMLInputElement && voice.files?.length ? "1" : "",
      csrfmiddlewaretoken: csrfToken(),
    });
  }

  /** @param {Room} room */
  #show({ tokens = null, fits = null, hint = "", plain = "" }) {
    const known = tokens !== null && fits !== null;
    const over = known && tokens > fits;
    const number = (/** @type {number} */ n) => n.toLocaleString("en");
    const line = this.part("tokens");
    setShown(line, known);
    if (known) setText(line, `${number(tokens)} of ${number(fits)} tokens that fit into the model beside this voice`);
    line.classList.toggle("over", over);
    // Announced once when it comes to be so, not at every pause.
    setText(this.part("room-status"), over ? "The role prompt is too long for the model with this voice." : "");
    this.plain = plain;
    setText(this.part("plain-hint"), hint);
    setShown(this.part("plain"), Boolean(plain));
  }
}

/**
 * {} where the site can't be asked: it judges again when the form is sent.
 * @param {string} url
 * @param {URLSearchParams} fields
 * @returns {Promise<Room>}
 */
async function answer(url, fields) {
  try {
    const headers = { Accept: "application/json" };
    const response = await fetch(url, { method: "POST", headers, body: fields });
    return response.ok && !response.redirected ? await response.json() : {};
  } catch {
    return {};
  }
}
