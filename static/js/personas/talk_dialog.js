// Asks which text counts when the user wants to talk with changes that are not saved.

/** @import { Unsaved } from "./unsaved.js" */

import { find } from "../shared/dom.js";

/**
 * @param {HTMLAnchorElement} link
 * @param {HTMLDialogElement} dialog
 * @param {Pick<Unsaved, "changed" | "leave">} unsaved
 */
export function askBeforeTalking(link, dialog, unsaved) {
  link.addEventListener("click", (event) => {
    const elsewhere = event.ctrlKey || event.metaKey || event.shiftKey;
    if (!unsaved.changed || elsewhere) return;
    event.preventDefault();
    dialog.showModal();
  });
  find(dialog, "[data-talk-anyway]").addEventListener("click", () => {
    unsaved.leave();
    location.assign(link.href);
  });
  for (const button of dialog.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => dialog.close());
  }
}
