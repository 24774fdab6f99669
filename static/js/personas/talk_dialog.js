// Asks which text counts when somebody wants to talk with changes that are not saved.

export function askBeforeTalking(link, dialog, unsaved) {
  link.addEventListener("click", (event) => {
    const elsewhere = event.ctrlKey || event.metaKey || event.shiftKey;
    if (!unsaved.changed || elsewhere) return;
    event.preventDefault();
    dialog.showModal();
  });
  dialog.querySelector("[data-talk-anyway]").addEventListener("click", () => {
    unsaved.leave();
    location.assign(link.href);
  });
  for (const button of dialog.querySelectorAll("[data-close]")) {
    button.addEventListener("click", () => dialog.close());
  }
}
