// The panel of temperatures, top-k and seed. Knows no sockets.

import { byId, make } from "../shared/dom.js";
import { recall, remember } from "./preferences.js";
import { NAMES, askedFor } from "./sampling.js";

export class SamplingPanel {
  /** `choices`: as the server allows; `persona`: whose settings are remembered. */
  constructor(choices, persona) {
    this.choices = choices && typeof choices === "object" ? choices : {};
    this.key = `sampling.${persona}`;
    this.inputs = new Map();
    const form = byId("sampling");
    byId("sampling-panel").hidden = !Object.keys(this.choices).length;
    form.replaceChildren(...Object.keys(this.choices).map((name) => this.#field(name)));
    const reset = make("button", { type: "button", className: "button quiet", textContent: "Back to the defaults" });
    reset.addEventListener("click", () => this.#fill({}));
    form.append(reset);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", () => remember(this.key, this.asked()));
    this.#fill(recall(this.key, {}));
  }

  /** The `sampling` of `start`: only what differs from the defaults. */
  asked() {
    const wishes = {};
    for (const [name, { input }] of this.inputs) {
      if (input.value !== "") wishes[name] = Number(input.value);
    }
    return askedFor(this.choices, wishes);
  }

  #field(name) {
    const { least, most } = this.choices[name];
    const slides = name.startsWith("temperature");
    const input = make("input", { id: `sampling-${name}`, min: least, max: most });
    input.type = slides ? "range" : "number";
    input.step = slides ? 0.05 : 1;
    if (!slides) input.inputMode = "numeric";
    if (name === "seed") input.placeholder = "a new one each time";
    const shown = make("output", { className: "numbers", htmlFor: input.id });
    input.addEventListener("input", () => this.#show(name));
    input.addEventListener("change", () => this.#settle(name));
    const label = make("label", { htmlFor: input.id, textContent: NAMES[name] ?? name });
    this.inputs.set(name, { input, shown });
    return make("div", { className: "field" }, slides ? make("div", { className: "label-row" }, label, shown) : label, input);
  }

  #fill(values) {
    for (const [name, { input }] of this.inputs) {
      input.value = values[name] ?? this.choices[name].default ?? "";
      this.#show(name);
    }
    remember(this.key, this.asked());
  }

  // What was typed is moved into range when the field is left.
  #settle(name) {
    const { input } = this.inputs.get(name);
    if (input.value === "") input.value = this.choices[name].default ?? "";
    else input.value = this.asked()[name] ?? this.choices[name].default ?? "";
    this.#show(name);
  }

  #show(name) {
    const { input, shown } = this.inputs.get(name);
    shown.textContent = Number(input.value).toFixed(2);
  }
}
