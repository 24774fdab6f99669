// The role prompt while it is written: how long it is, how much of it fits into the
// model beside the voice, and examples to begin with.

import { dataOf, find } from "../shared/dom.js";
import { PromptRoom } from "./prompt_room.js";

/** @param {HTMLElement} root */
export function enhanceRolePrompt(root) {
  const text = find(root, "textarea", HTMLTextAreaElement);
  const counter = find(root, "[data-counter]");
  const most = Number(text.dataset.most);
  const room = new PromptRoom(root, (plain) => replaceAll(text, plain));

  const count = () => {
    const used = [...text.value].length; // characters, as the site counts them
    counter.textContent = `${used.toLocaleString("en")} of ${most.toLocaleString("en")} characters`;
    counter.classList.toggle("over", used > most);
    room.ask();
  };

  /** @type {NodeListOf<HTMLElement>} */
  const examples = root.querySelectorAll("[data-example]");
  for (const button of examples) {
    button.addEventListener("click", () => replaceAll(text, dataOf(button, "example")));
  }
  find(root, "[data-examples]").hidden = false;
  text.addEventListener("input", count);
  // The voice takes part of the room.
  text.form?.addEventListener("change", ({ target }) => target !== text && room.ask());
  count();
}

/**
 * As if typed, so that the browser's undo brings the old text back.
 * @param {HTMLTextAreaElement} text
 * @param {string} value
 */
function replaceAll(text, value) {
  text.focus();
  text.select();
  if (document.execCommand("insertText", false, value)) return;
  text.value = value;
  text.dispatchEvent(new Event("input"));
}
