// The panel of temperatures, top-k and seed, as this browser remembers them.

/** @import { Choices, Choice } from "./sampling.js" */

import { byId, make } from "../shared/dom.js";
import { recall, remember } from "./preferences.js";
import { NAMES, askedFor } from "./sampling.js";

export class SamplingPanel {
  /** @type {Map<string, { choice: Choice, input: HTMLInputElement, shown: HTMLOutputElement }>} */
  fields = new Map(); // by name

  /**
   * @param {unknown} choices as the server allows them; null where it names none
   * @param {string} persona whose settings are remembered
   */
  constructor(choices, persona) {
    this.choices = choices && typeof choices === "object" ? /** @type {Choices} */ (choices) : {};
    this.key = `sampling.${persona}`;
    const form = byId("sampling");
    byId("sampling-panel").hidden = !Object.keys(this.choices).length;
    form.replaceChildren(...Object.entries(this.choices).map((entry) => this.#field(...entry)));
    const reset = make("button", { type: "button", className: "button quiet", textContent: "Back to the defaults" });
    reset.addEventListener("click", () => this.#fill({}));
    form.append(reset);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => remember(this.key, this.asked()));
    this.#fill(recall(this.key, {}));
  }

  /** The `sampling` of `start`: only what differs from the defaults. */
  asked() {
    /** @type {Record<string, number>} */
    const wishes = {};
    for (const [name, { input }] of this.fields) {
      if (input.value !== "") wishes[name] = Number(input.value);
    }
    return askedFor(this.choices, wishes);
  }

  /**
   * @param {string} name
   * @param {Choice} choice
   */
  #field(name, choice) {
    const slides = name.startsWith("temperature");
    const input = make("input", { id: `sampling-${name}`, min: String(choice.least), max: String(choice.most) });
    input.type = slides ? "range" : "number";
    input.step = slides ? "0.05" : "1";
    if (!slides) input.inputMode = "numeric";
    if (name === "seed") input.placeholder = "a new one each time";
    const shown = make("output", { className: "numbers" });
    shown.htmlFor.add(input.id);
    input.addEventListener("input", () => this.#show(name));
    input.addEventListener("change", () => this.#settle(name));
    const label = make("label", { htmlFor: input.id, textContent: NAMES[name] ?? name });
    this.fields.set(name, { choice, input, shown });
    return make("div", { className: "field" }, slides ? make("div", { className: "label-row" }, label, shown) : label, input);
  }

  /** @param {Record<string, unknown>} values */
  #fill(values) {
    for (const [name, { choice, input }] of this.fields) {
      input.value = String(values[name] ?? choice.default ?? "");
      this.#show(name);
    }
    remember(this.key, this.asked());
  }

  /**
   * What was typed is moved into range when the field is left.
   * @param {string} name
   */
  #settle(name) {
    const field = this.fields.get(name);
    if (!field) return;
    const { choice, input } = field;
    /** @type {Record<string, unknown>} */
    const asked = input.value === "" ? {} : { ...this.asked() };
    input.value = String(asked[name] ?? choice.default ?? "");
    this.#show(name);
  }

  /** @param {string} name */
  #show(name) {
    const field = this.fields.get(name);
    if (!field) return;
    const { input, shown } = field;
    shown.textContent = Number(input.value).toFixed(2);
  }
}
