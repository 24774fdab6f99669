// Announces the agent's words to screen readers: whole sentences, as the pieces in which
// they come would be read one by one. It is optional, as the voice says the same.

import { byId, make } from "../shared/dom.js";
import { recall, remember } from "./preferences.js";
import { Sentences } from "./sentences.js";

const PAUSE_MS = 2000; // without text: the sentence is over
const KEPT = 10; // sentences in the region; all of them are in the transcript

export class Announcer {
  /** @type {number | undefined} */
  timer;

  constructor() {
    this.place = byId("announced");
    this.sentences = new Sentences();
    this.box = byId("announce", HTMLInputElement);
    this.box.checked = recall("announce", true);
    this.box.addEventListener("change", () => {
      remember("announce", this.box.checked);
      this.sentences.flush();
    });
  }

  /** @param {string} piece */
  add(piece) {
    clearTimeout(this.timer);
    if (!this.box.checked) return;
    for (const sentence of this.sentences.add(piece)) this.#announce(sentence);
    this.timer = setTimeout(() => this.finish(), PAUSE_MS);
  }

  /** The agent said no more. */
  finish() {
    clearTimeout(this.timer);
    const rest = this.sentences.flush();
    if (rest) this.#announce(rest);
  }

  clear() {
    clearTimeout(this.timer);
    this.sentences.flush();
    this.place.replaceChildren();
  }

  /** @param {string} sentence */
  #announce(sentence) {
    this.place.append(make("p", { textContent: sentence }));
    while (this.place.children.length > KEPT) this.place.children[0].remove();
  }
}
