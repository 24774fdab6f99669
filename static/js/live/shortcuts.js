// Single keys, outside of text fields and unless they were turned off: speech input and
// screen readers send such keys by accident (WCAG 2.1.4).

import { byId, isInside } from "../shared/dom.js";
import { recall, remember } from "./preferences.js";

/** @param {Record<string, () => void>} actions by key */
export function listenForKeys(actions) {
  const box = byId("use-keys", HTMLInputElement);
  box.checked = recall("keys", true);
  box.addEventListener("change", () => remember("keys", box.checked));
  document.addEventListener("keydown", (event) => {
    const action = actions[event.key.toLowerCase()];
    if (!action || !box.checked || event.repeat) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (isInside(event, "input:not([type=checkbox]), textarea, select")) return;
    action();
  });
}
