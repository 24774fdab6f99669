// The panel with the choice of microphone and loudspeaker. It asks the browser which devices
// there are, and reports which one was chosen.

import { byId, make } from "../shared/dom.js";
import { recall, remember } from "./preferences.js";
import { canChooseLoudspeaker } from "./speaker.js";

/** @typedef {"microphone" | "loudspeaker"} DeviceKind */
/** @typedef {Record<DeviceKind, string>} ChosenDevices ids, "" for the default */
/** @typedef {Record<DeviceKind, string[]> & { named: boolean }} FoundDevices ids */

/** @type {DeviceKind[]} */
const KINDS = ["microphone", "loudspeaker"];

export class SoundPanel {
  named = false; // whether the browser names the devices: after the permission only

  /**
   * @param {object} listener
   * @param {(kind: DeviceKind, deviceId: string) => void} listener.onChoice
   * @param {(devices: FoundDevices) => void} listener.onChange
   */
  constructor({ onChoice, onChange }) {
    /** @type {Partial<ChosenDevices>} */
    this.chosen = recall("devices", {});
    this.selects = {
      microphone: byId("microphone", HTMLSelectElement),
      loudspeaker: byId("loudspeaker", HTMLSelectElement),
    };
    byId("loudspeaker-field").hidden = !canChooseLoudspeaker();
    for (const kind of KINDS) {
      const select = this.selects[kind];
      select.addEventListener("change", () => {
        this.choose(kind, select.value);
        onChoice(kind, select.value);
      });
    }
    const changed = async () => onChange(await this.refresh());
    navigator.mediaDevices?.addEventListener?.("devicechange", changed);
    this.refresh();
  }

  /** @returns {ChosenDevices} */
  get devices() {
    const there = (/** @type {DeviceKind} */ kind) => {
      const id = this.chosen[kind] ?? "";
      const options = [...this.selects[kind].options];
      // Before the permission the browser names no devices: the wish is kept then.
      return !this.named || options.some(({ value }) => value === id) ? id : "";
    };
    return { microphone: there("microphone"), loudspeaker: there("loudspeaker") };
  }

  open() {
    byId("sound-panel", HTMLDetailsElement).open = true;
    this.selects.microphone.focus();
  }

  /**
   * @param {DeviceKind} kind
   * @param {string} id
   */
  choose(kind, id) {
    this.chosen[kind] = id;
    remember("devices", this.chosen);
    this.selects[kind].value = id;
  }

  /**
   * Lists what there is now.
   * @returns {Promise<FoundDevices>}
   */
  async refresh() {
    /** @type {MediaDeviceInfo[]} */
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
    const ids = (/** @type {MediaDeviceInfo[]} */ devices) => devices.map(({ deviceId }) => deviceId);
    return { microphone: ids(inputs), loudspeaker: ids(outputs), named: this.named };
  }

  /**
   * @param {DeviceKind} kind
   * @param {MediaDeviceInfo[]} devices
   */
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
