// A form whose changes are not saved yet: it is kept as a draft while it is written, the
// browser asks before the page is left, and earlier drafts are offered.

/** @import { Draft, Fields } from "../shared/drafts.js" */
/** @import { DraftOffer } from "./draft_offer.js" */

import { dataOf, find } from "../shared/dom.js";
import { Drafts } from "../shared/drafts.js";
import { randomId } from "../shared/random_id.js";

const PAUSE_MS = 300;
const NOT_KEPT = ["csrfmiddlewaretoken", "form_id", "draft"];

/** @typedef {HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement} Field */

export class Unsaved {
  leaving = false;
  /** @type {number | undefined} */
  timer;

  /**
   * @param {HTMLFormElement} form
   * @param {DraftOffer} offer
   */
  constructor(form, offer) {
    const limits = { days: Number(dataOf(form, "draftDays")), most: Number(dataOf(form, "maxDrafts")) };
    this.form = form;
    this.offer = offer;
    this.drafts = new Drafts(dataOf(form, "draftScope"), limits);
    this.draftField = find(form, "[name=draft]", HTMLInputElement);
    this.id = this.draftField.value || randomId();
    this.#take(this.id);
    form.addEventListener("input", () => this.#changed());
    form.addEventListener("change", () => this.#changed());
    // A form that a script sends calls `saved` by itself.
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

  /** @param {Event} event */
  #ask(event) {
    this.keep();
    const files = [...this.form.elements].some((field) => field instanceof HTMLInputElement && field.files?.length);
    if ((this.changed || files) && !this.leaving) event.preventDefault();
  }

  /**
   * The page after a save names the draft that was saved.
   * @param {string} id
   */
  #take(id) {
    this.id = this.draftField.value = id;
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

  /** @param {Draft} draft */
  #isHere({ fields }) {
    return writtenFields(this.form).every(({ name, value }) => fields[name] === value);
  }

  /**
   * What is in the form now becomes a draft of its own, and is offered in turn. The page
   * that the draft was written on comes back with it (`loaded`), so that the site notices
   * what was saved since.
   * @param {Draft} draft
   */
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

  /** @param {Draft} draft */
  #discard(draft) {
    this.drafts.remove(draft.id);
    this.#showOffer();
  }
}

const WRITTEN = ["text", "textarea", "select-one"];

/**
 * @param {HTMLFormElement} form
 * @returns {Field[]}
 */
function keptFields(form) {
  const kept = [...WRITTEN, "hidden"];
  return [...form.elements].filter(isField).filter(({ name, type }) => kept.includes(type) && name && !NOT_KEPT.includes(name));
}

/**
 * @param {Element} element
 * @returns {element is Field}
 */
function isField(element) {
  return [HTMLInputElement, HTMLTextAreaElement, HTMLSelectElement].some((kind) => element instanceof kind);
}

/** @param {HTMLFormElement} form */
function writtenFields(form) {
  return keptFields(form).filter(({ type }) => type !== "hidden");
}

/**
 * @param {HTMLFormElement} form
 * @returns {Fields}
 */
function valuesOf(form) {
  return Object.fromEntries(keptFields(form).map(({ name, value }) => [name, value]));
}

/** @param {Field} field */
function isChanged(field) {
  if (!(field instanceof HTMLSelectElement)) return field.value !== field.defaultValue;
  // Without a choice of the page the browser takes the first option.
  const shown = [...field.options].find((option) => option.defaultSelected) ?? field.options[0];
  return field.value !== (shown?.value ?? "");
}

/**
 * @param {Field} field
 * @param {string} value
 */
function fill(field, value) {
  const isOption = !(field instanceof HTMLSelectElement) || [...field.options].some((option) => option.value === value);
  if (!isOption || field.value === value) return; // such a voice is not offered any more
  field.value = value;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}
