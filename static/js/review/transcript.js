// The words with their times: a click moves there, the current one is marked.

import { make } from "../shared/dom.js";
import { clock } from "../shared/format.js";
import { wordAt } from "./figures.js";

export class TranscriptView {
  constructor(container, stretches, seek) {
    this.words = stretches.flatMap((stretch) => stretch.words);
    this.elements = [];
    this.current = -1;
    this.container = container;
    container.replaceChildren(...stretches.map((stretch) => this.#stretch(stretch)));
    container.addEventListener("click", (event) => {
      const start = event.target.closest("[data-start]")?.dataset.start;
      if (start !== undefined) seek(Number(start));
    });
  }

  #stretch(stretch) {
    const at = make("button", {
      type: "button",
      className: "at numbers",
      textContent: clock(stretch.start_s),
      ariaLabel: `Go to ${clock(stretch.start_s)}`,
    });
    at.dataset.start = stretch.start_s;
    const text = make("p");
    for (const word of stretch.words) {
      const element = make("span", { className: "word", textContent: word.text });
      element.dataset.start = word.start_s;
      this.elements.push(element);
      text.append(element, " ");
    }
    return make("div", { className: "stretch" }, at, text);
  }

  setPosition(seconds, follow) {
    const index = wordAt(this.words, seconds);
    if (index === this.current) return;
    this.elements[this.current]?.classList.remove("now");
    this.current = index;
    const element = this.elements[index];
    if (!element) return;
    element.classList.add("now");
    if (follow) this.#reveal(element);
  }

  // Scrolls the list only, never the page under the reader's hand.
  #reveal(element) {
    const box = this.container.getBoundingClientRect();
    const word = element.getBoundingClientRect();
    if (word.top < box.top || word.bottom > box.bottom) {
      this.container.scrollTop += word.top - box.top - box.height / 3;
    }
  }
}
