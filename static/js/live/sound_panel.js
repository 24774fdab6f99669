// The choice of microphone and loudspeaker. Knows no sockets; it asks the browser which
// devices there are, and tells which one was chosen.

import { byId, make } from "../shared/dom.js";
import { recall, remember } from "./preferences.js";
import { canChooseLoudspeaker } from "./speaker.js";

export class SoundPanel {
  /** `onChoice(kind, deviceId)` and `onChange(devices)`; kind: microphone, loudspeaker. */
  constructor({ onChoice, onChange }) {
    this.chosen = recall("devices", {});
    this.selects = { microphone: byId("microphone"), loudspeaker: byId("loudspeaker") };
    byId("loudspeaker-field").hidden = !canChooseLoudspeaker();
    for (const [kind, select] of Object.entries(this.selects)) {
      select.addEventListener("change", () => {
        this.choose(kind, select.value);
        onChoice(kind, select.value);
      });
    }
    const changed = async () => onChange(await this.refresh());
    navigator.mediaDevices?.addEventListener?.("devicechange", changed);
    this.refresh();
  }

  get devices() {
    const there = (kind) => {
      const id = this.chosen[kind] ?? "";
      const options = [...this.selects[kind].options];
      // Before the permission the browser names no devices: the wish is kept then.
      return !this.named || options.some(({ value }) => value === id) ? id : "";
    };
    return { microphone: there("microphone"), loudspeaker: there("loudspeaker") };
  }

  open() {
    byId("sound-panel").open = true;
    this.selects.microphone.focus();
  }

  choose(kind, id) {
    this.chosen[kind] = id;
    remember("devices", this.chosen);
    this.selects[kind].value = id;
  }

  /** Lists what there is now: { microphone: [ids], loudspeaker: [ids], named }. */
  async refresh() {
    let found = [];
    try {
      found = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    } catch {
      // Refused: the default devices it is.
    }
    const inputs = found.filter(({ kind }) => kind === "audioinput");
    const outputs = found.filter(({ kind }) => kind === "audiooutput");
    this.named = inputs.some(({ label }) => label);
    byId("sound-hint").hidden = this.named;
    this.#list("microphone", inputs);
    this.#list("loudspeaker", outputs);
    const ids = (devices) => devices.map(({ deviceId }) => deviceId);
    return { microphone: ids(inputs), loudspeaker: ids(outputs), named: this.named };
  }

  #list(kind, devices) {
    const select = this.selects[kind];
    const usual = make("option", { value: "", textContent: `Default ${kind}` });
    // "default" and "communications" are Chromium's own names for devices listed anyway.
    const own = devices.filter(({ deviceId, label }) => label && deviceId && !["default", "communications"].includes(deviceId));
    select.replaceChildren(usual, ...own.map(({ deviceId, label }) => make("option", { value: deviceId, textContent: label })));
    select.value = this.devices[kind];
    select.disabled = !own.length;
  }
}
