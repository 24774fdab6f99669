// The notice that offers a draft which was written here before and not saved.

const FORMAT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export class DraftOffer {
  constructor(root) {
    this.root = root;
    this.part = (name) => root.querySelector(`[data-${name}]`);
  }

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
