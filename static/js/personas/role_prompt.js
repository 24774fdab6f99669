// The role prompt's counter and examples.

export function bringRolePromptToLife(root) {
  const text = root.querySelector("textarea");
  const counter = root.querySelector("[data-counter]");
  const most = Number(text.dataset.most);

  const count = () => {
    const used = [...text.value].length; // characters, as the site counts them
    counter.textContent = `${used.toLocaleString("en")} of ${most.toLocaleString("en")} characters`;
    counter.classList.toggle("over", used > most);
  };

  for (const button of root.querySelectorAll("[data-example]")) {
    button.addEventListener("click", () => {
      // As if typed, so that the browser's undo brings the old text back.
      text.focus();
      text.select();
      if (!document.execCommand("insertText", false, button.dataset.example)) {
        text.value = button.dataset.example;
      }
      count();
    });
  }
  root.querySelector("[data-examples]").hidden = false;
  text.addEventListener("input", count);
  count();
}
