// The role prompt while it is written: how long it is, how much of it fits into the
// model beside the voice, and examples to begin with.

import { PromptRoom } from "./prompt_room.js";

export function enhanceRolePrompt(root) {
  const text = root.querySelector("textarea");
  const counter = root.querySelector("[data-counter]");
  const most = Number(text.dataset.most);
  const room = new PromptRoom(root, (plain) => replaceAll(text, plain));

  const count = () => {
    const used = [...text.value].length; // characters, as the site counts them
    counter.textContent = `${used.toLocaleString("en")} of ${most.toLocaleString("en")} characters`;
    counter.classList.toggle("over", used > most);
    room.ask();
  };

  for (const button of root.querySelectorAll("[data-example]")) {
    button.addEventListener("click", () => replaceAll(text, button.dataset.example));
  }
  root.querySelector("[data-examples]").hidden = false;
  text.addEventListener("input", count);
  // The voice takes part of the room.
  text.form.addEventListener("change", ({ target }) => target !== text && room.ask());
  count();
}

/** As if typed, so that the browser's undo brings the old text back. */
function replaceAll(text, value) {
  text.focus();
  text.select();
  if (document.execCommand("insertText", false, value)) return;
  text.value = value;
  text.dispatchEvent(new Event("input"));
}
