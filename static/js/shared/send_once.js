// A form that is on its way is not sent once more by a second click. Forms that a module
// of their own sends have prevented the browser's way, and are left to it.

/** @type {Set<HTMLButtonElement>} */
const waiting = new Set();

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || !(form instanceof HTMLFormElement) || form.method !== "post") return;
  /** @type {NodeListOf<HTMLButtonElement>} */
  const buttons = form.querySelectorAll("button:not([type=button])");
  // A moment later: a disabled button's name would not be sent.
  setTimeout(() => {
    for (const button of buttons) {
      button.disabled = true;
      waiting.add(button);
    }
  });
});

// The user came back to the page as the browser kept it.
window.addEventListener("pageshow", ({ persisted }) => {
  if (!persisted) return;
  for (const button of waiting) button.disabled = false;
  waiting.clear();
});
