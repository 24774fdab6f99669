// The page after a save names the draft that was saved: it is no longer needed.

import { dataOf } from "./dom.js";
import { Drafts } from "./drafts.js";

/** @type {NodeListOf<HTMLElement>} */
const notices = document.querySelectorAll("[data-saved-draft]");
for (const notice of notices) {
  Drafts.removeSaved(dataOf(notice, "savedDraft"));
}
