// The transcript: a click on a word moves there, the current word is marked.

/** @import { Segment } from "./data.js" */

import { make } from "../shared/dom.js";
import { clock } from "../shared/format.js";
import { wordAt } from "./figures.js";

export class TranscriptView {
  /** @type {HTMLElement[]} */
  elements = []; // of the words
  current = -1; // index of a word

  /**
   * @param {HTMLElement} container
   * @param {Segment[]} segments
   * @param {(seconds: number) => void} seek
   */
  constructor(container, segments, seek) {
    this.words = segments.flatMap((segment) => segment.words);
    this.container = container;
    container.replaceChildren(...segments.map((segment) => this.#segment(segment)));
    container.addEventListener("click", ({ target }) => {
      const clicked = target instanceof Element && target.closest("[data-start]");
      if (clicked instanceof HTMLElement) seek(Number(clicked.dataset.start));
    });
  }

  /** @param {Segment} segment */
  #segment(segment) {
    const at = make("button", {
      type: "button",
      className: "at numbers",
      textContent: clock(segment.start_s),
      ariaLabel: `Go to ${clock(segment.start_s)}`,
    });
    at.dataset.start = String(segment.start_s);
    const text = make("p");
    for (const word of segment.words) {
      const element = make("span", { className: "word", textContent: word.text });
      element.dataset.start = String(word.start_s);
      this.elements.push(element);
      text.append(element, " ");
    }
    return make("div", { className: "segment" }, at, text);
  }

  /**
   * @param {number} seconds
   * @param {boolean} follow scroll to the current word
   */
  setPosition(seconds, follow) {
    const index = wordAt(this.words, seconds);
    if (index === this.current) return;
    this.elements[this.current]?.classList.remove("now");
    this.current = index;
    const element = this.elements[index];
    if (!element) return;
    element.classList.add("now");
    if (follow) this.#scrollTo(element);
  }

  /**
   * Scrolls the transcript only, not the page.
   * @param {HTMLElement} element
   */
  #scrollTo(element) {
    const box = this.container.getBoundingClientRect();
    const word = element.getBoundingClientRect();
    if (word.top < box.top || word.bottom > box.bottom) {
      this.container.scrollTop += word.top - box.top - box.height / 3;
    }
  }
}
