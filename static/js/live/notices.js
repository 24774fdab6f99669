// Short notices inside the page during a conversation. One of each code at a time.

import { byId, make } from "../shared/dom.js";

const MAX_SHOWN = 3;
const BRIEF_MS = 9000;

/**
 * @typedef {object} Notice
 * @property {string} code
 * @property {string} text
 * @property {"" | "warning"} [kind]
 * @property {boolean} [brief] disappears by itself
 * @property {{ label: string, run: () => void } | null} [action]
 */

export class Notices {
  /** @type {Map<string, HTMLElement>} */
  shown = new Map(); // by code

  constructor() {
    this.place = byId("notices");
  }

  /** @param {Notice} notice */
  show({ code, text, kind = "warning", brief = false, action = null }) {
    this.hide(code);
    const close = make("button", { type: "button", className: "notice-close", ariaLabel: "Dismiss", textContent: "×" });
    close.addEventListener("click", () => this.hide(code));
    const note = make("div", { className: `notice ${kind}` }, make("p", { textContent: text }));
    if (action) {
      const button = make("button", { type: "button", className: "button", textContent: action.label });
      button.addEventListener("click", action.run);
      note.append(button);
    }
    note.append(close);
    note.dataset.code = code;
    this.shown.set(code, note);
    this.place.append(note);
    if (brief) setTimeout(() => this.shown.get(code) === note && this.hide(code), BRIEF_MS);
    if (this.shown.size > MAX_SHOWN) this.hide([...this.shown.keys()][0]);
  }

  /**
   * Shows another notice in place of one with this code, or none.
   * @param {string} code
   * @param {Notice | null} notice
   */
  replace(code, notice) {
    this.hide(code);
    if (notice) this.show(notice);
  }

  /** @param {string} code */
  hide(code) {
    this.shown.get(code)?.remove();
    this.shown.delete(code);
  }

  clear() {
    this.shown.clear();
    this.place.replaceChildren();
  }
}
