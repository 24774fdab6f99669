// Forms that the browser sends by itself take the newest CSRF token along.

import { csrfToken } from "./csrf.js";

document.addEventListener("submit", ({ target }) => {
  const field = target.querySelector("input[name=csrfmiddlewaretoken]");
  if (field) field.value = csrfToken() || field.value;
});
