// Tells screen readers what the agent says: whole sentences, as the pieces in which they
// come would be read one by one. A choice, as it is also heard.

import { byId, make } from "../shared/dom.js";
import { recall, remember } from "./preferences.js";
import { Sentences } from "./sentences.js";

const PAUSE_MS = 2000; // without text: the sentence is over
const KEPT = 10; // sentences in the region; all of them are in the transcript

export class Announcer {
  constructor() {
    this.place = byId("announced");
    this.sentences = new Sentences();
    this.box = byId("announce");
    this.box.checked = recall("announce", true);
    this.box.addEventListener("change", () => {
      remember("announce", this.box.checked);
      this.sentences.flush();
    });
  }

  add(piece) {
    clearTimeout(this.timer);
    if (!this.box.checked) return;
    for (const sentence of this.sentences.add(piece)) this.#tell(sentence);
    this.timer = setTimeout(() => this.finish(), PAUSE_MS);
  }

  /** The agent said no more. */
  finish() {
    clearTimeout(this.timer);
    const rest = this.sentences.flush();
    if (rest) this.#tell(rest);
  }

  clear() {
    clearTimeout(this.timer);
    this.sentences.flush();
    this.place.replaceChildren();
  }

  #tell(sentence) {
    this.place.append(make("p", { textContent: sentence }));
    while (this.place.children.length > KEPT) this.place.firstChild.remove();
  }
}
