// Forms that the browser sends by itself take the newest CSRF token along.

import { csrfToken } from "./csrf.js";

document.addEventListener("submit", ({ target }) => {
  if (!(target instanceof HTMLFormElement)) return;
  const field = target.querySelector("input[name=csrfmiddlewaretoken]");
  if (field instanceof HTMLInputElement) field.value = csrfToken() || field.value;
});
