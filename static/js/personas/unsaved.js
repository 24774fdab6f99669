// A form whose changes are not saved yet: it is kept as a draft while it is written, the
// browser asks before the page is left, and earlier drafts are offered.

import { Drafts } from "../shared/drafts.js";
import { randomId } from "../shared/random_id.js";

const PAUSE_MS = 300;
const NOT_KEPT = ["csrfmiddlewaretoken", "form_id", "draft"];

export class Unsaved {
  constructor(form, offer) {
    const { draftScope: scope, draftDays: days, maxDrafts: most } = form.dataset;
    this.form = form;
    this.offer = offer;
    this.drafts = new Drafts(scope, { days: Number(days), most: Number(most) });
    this.id = form.elements.draft.value || randomId();
    this.leaving = false;
    this.#take(this.id);
    form.addEventListener("input", () => this.#changed());
    form.addEventListener("change", () => this.#changed());
    // A form that a script sends says by itself when it is saved.
    form.addEventListener("submit", (event) => event.defaultPrevented || this.leave());
    window.addEventListener("beforeunload", (event) => this.#ask(event));
    window.addEventListener("pagehide", () => this.keep());
    document.addEventListener("visibilitychange", () => document.hidden && this.keep());
    window.addEventListener("pageshow", ({ persisted }) => persisted && (this.leaving = false));
    this.#showOffer();
  }

  /** Whether something here is not saved. */
  get changed() {
    return "unsaved" in this.form.dataset || writtenFields(this.form).some(isChanged);
  }

  /** The page is left on purpose; what was written is kept. */
  leave() {
    this.keep();
    this.leaving = true;
  }

  keep() {
    clearTimeout(this.timer);
    if (this.leaving) return;
    if (this.changed) this.drafts.put(this.id, valuesOf(this.form));
    else this.drafts.remove(this.id);
  }

  /** The site has taken the form. */
  saved() {
    this.drafts.remove(this.id);
    this.leaving = true;
  }

  #changed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.keep(), PAUSE_MS);
  }

  #ask(event) {
    this.keep();
    const files = [...this.form.elements].some((field) => field.files?.length);
    if ((this.changed || files) && !this.leaving) event.preventDefault();
  }

  /** The site tells the page after a save which draft it was. */
  #take(id) {
    this.id = this.form.elements.draft.value = id;
  }

  #showOffer() {
    for (const draft of this.drafts.list()) {
      if (draft.id === this.id) continue;
      if (this.#isHere(draft)) {
        // Saved since, or filled in again by the browser itself.
        this.drafts.remove(draft.id);
        this.keep();
        continue;
      }
      this.offer.show(draft, {
        restore: () => this.#restore(draft),
        discard: () => this.#discard(draft),
      });
      return;
    }
    this.offer.hide();
  }

  #isHere({ fields }) {
    return writtenFields(this.form).every(({ name, value }) => fields[name] === value);
  }

  /** What is in the form now becomes a draft of its own, and is offered in turn. The
      page that the draft was written on comes back with it (`loaded`), so that the site
      notices what was saved since. */
  #restore(draft) {
    this.keep();
    if (this.changed) this.#take(randomId());
    this.drafts.remove(draft.id);
    for (const field of keptFields(this.form)) {
      const value = draft.fields[field.name];
      if (typeof value === "string") fill(field, value);
    }
    this.keep();
    this.#showOffer();
  }

  #discard(draft) {
    this.drafts.remove(draft.id);
    this.#showOffer();
  }
}

const WRITTEN = ["text", "textarea", "select-one"];

function keptFields(form) {
  const kept = [...WRITTEN, "hidden"];
  return [...form.elements].filter(({ name, type }) => kept.includes(type) && name && !NOT_KEPT.includes(name));
}

function writtenFields(form) {
  return keptFields(form).filter(({ type }) => type !== "hidden");
}

function valuesOf(form) {
  return Object.fromEntries(keptFields(form).map(({ name, value }) => [name, value]));
}

function isChanged(field) {
  if (!field.selectedOptions) return field.value !== field.defaultValue;
  // Without a choice of the page the browser takes the first option.
  const shown = [...field.options].find((option) => option.defaultSelected) ?? field.options[0];
  return field.value !== (shown?.value ?? "");
}

function fill(field, value) {
  const isOption = !field.options || [...field.options].some((option) => option.value === value);
  if (!isOption || field.value === value) return; // such a voice is not offered any more
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}
