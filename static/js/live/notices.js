// Short notes inside the page while a conversation goes on. One of each code at a time.

import { byId, make } from "../shared/dom.js";

const MOST = 3;
const BRIEF_MS = 9000;

export class Notices {
  constructor() {
    this.place = byId("notices");
    this.shown = new Map(); // code → element
  }

  /** `brief`: goes by itself. `action`: { label, run }. `kind`: "", "warning". */
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
    if (this.shown.size > MOST) this.hide(this.shown.keys().next().value);
  }

  hide(code) {
    this.shown.get(code)?.remove();
    this.shown.delete(code);
  }

  clear() {
    this.shown.clear();
    this.place.replaceChildren();
  }
}
