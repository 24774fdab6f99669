// Sending a form with progress.

import { csrfToken } from "../shared/csrf.js";
import { randomId } from "../shared/random_id.js";

/** Resolves to { status, body }: body is JSON, or null where the site sent none.
    `onProgress` gets 0 … 1 of what has left the browser. A form whose CSRF token is of
    before the last sign-in is sent once more: the refusal brings a new one along. */
export async function sendForm(form, onProgress) {
  const answer = await send(form, onProgress);
  return answer.body?.code === "form_too_old" ? send(form, onProgress) : answer;
}

function send(form, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.responseType = "text";
    request.setRequestHeader("Accept", "application/json");
    request.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
    request.onload = () => resolve({ status: request.status, body: parse(request.responseText) });
    request.onerror = () => reject(new Error("the connection broke off"));
    request.send(fields(form));
  });
}

function fields(form) {
  const data = new FormData(form);
  const token = csrfToken();
  if (token) data.set("csrfmiddlewaretoken", token);
  return data;
}

/** The site takes a form of the same id and content for the same one, sent twice. */
export function renewFormId(form) {
  form.elements.form_id.value = randomId();
}

/** What to show when the site answered with no JSON of ours. */
export function unexpectedResponse(status) {
  if (status === 413) return "This file is too large. Send a shorter piece.";
  return `Something went wrong on our side (${status}). Please try again in a moment.`;
}

export const BROKEN_OFF =
  "The connection broke off while sending. Check the network and try again.";

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
