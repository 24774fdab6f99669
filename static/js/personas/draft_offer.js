// The notice that offers a draft which was written here before and not saved.

/** @import { Draft } from "../shared/drafts.js" */

import { find } from "../shared/dom.js";

const FORMAT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export class DraftOffer {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.part = (/** @type {string} */ name) => find(root, `[data-${name}]`);
  }

  /**
   * @param {Draft} draft
   * @param {{ restore: () => void, discard: () => void }} actions
   */
  show({ at, fields }, { restore, discard }) {
    this.part("when").textContent = FORMAT.format(at);
    this.part("draft-name").textContent = fields.name ?? "";
    this.part("draft-text").textContent = fields.role_prompt ?? "";
    this.part("restore").onclick = restore;
    this.part("discard").onclick = discard;
    this.root.hidden = false;
  }

  hide() {
    this.root.hidden = true;
  }
}
