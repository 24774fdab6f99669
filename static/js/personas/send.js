// Sending a form with progress.

import { csrfToken } from "../shared/csrf.js";
import { find } from "../shared/dom.js";
import { randomId } from "../shared/random_id.js";

/** @import { Upload } from "./follow.js" */

/**
 * What the site answers: the address of what was made, an upload to follow, or why not.
 * @typedef {Partial<Upload> & {
 *   url?: string,
 *   code?: string,
 *   text?: string,
 *   errors?: Record<string, string[]>,
 * }} Body
 */
/** @typedef {{ status: number, body: Body | null }} Answer body: null where no JSON came */

/**
 * A form whose CSRF token is older than the last sign-in is sent once more: the refusal
 * brings a new one along.
 * @param {HTMLFormElement} form
 * @param {(done: number) => void} onProgress gets 0 … 1 of what has left the browser
 */
export async function sendForm(form, onProgress) {
  const answer = await send(form, onProgress);
  return answer.body?.code === "form_too_old" ? send(form, onProgress) : answer;
}

/**
 * @param {HTMLFormElement} form
 * @param {(done: number) => void} onProgress
 * @returns {Promise<Answer>}
 */
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

/** @param {HTMLFormElement} form */
function fields(form) {
  const data = new FormData(form);
  const token = csrfToken();
  if (token) data.set("csrfmiddlewaretoken", token);
  return data;
}

/**
 * The site takes a form of the same id and content for the same one, sent twice.
 * @param {HTMLFormElement} form
 */
export function renewFormId(form) {
  find(form, "[name=form_id]", HTMLInputElement).value = randomId();
}

/**
 * What to show when the site answered with no JSON of ours.
 * @param {number} status
 */
export function unexpectedResponse(status) {
  if (status === 413) return "This file is too large. Send a shorter piece.";
  return `Something went wrong on our side (${status}). Please try again in a moment.`;
}

export const BROKEN_OFF =
  "The connection broke off while sending. Check the network and try again.";

/**
 * @param {string} text
 * @returns {Body | null}
 */
function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
