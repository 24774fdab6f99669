// The page that makes a persona: sends the form with its recording, shows progress.

import { byId, find } from "../shared/dom.js";
import { DraftOffer } from "./draft_offer.js";
import { enhanceRolePrompt } from "./role_prompt.js";
import { BROKEN_OFF, sendForm, unexpectedResponse } from "./send.js";
import { Unsaved } from "./unsaved.js";
import { VoiceField } from "./voice_field.js";

const form = byId("persona-form", HTMLFormElement);
const sending = byId("sending");
const failed = byId("not-sent");
const bar = find(sending, "progress", HTMLProgressElement);
const submit = find(form, "[data-submit]", HTMLButtonElement);
const voice = new VoiceField(find(form, "[data-voice-field]"));
enhanceRolePrompt(find(form, "[data-role-prompt]"));

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (submit.disabled) return; // a second click
  submit.disabled = true;
  if (await voice.settle()) {
    ready();
    return;
  }
  sending.hidden = !voice.file;
  try {
    const { status, body } = await sendForm(form, (done) => (bar.value = 100 * done));
    if (status === 201 && body?.url) {
      unsaved.saved();
      location.assign(body.url);
      return;
    }
    showErrors(body?.errors ?? {});
    showProblem(body?.errors ? "" : (body?.text ?? unexpectedResponse(status)));
  } catch {
    showProblem(BROKEN_OFF);
  }
  ready();
});

const unsaved = new Unsaved(form, new DraftOffer(byId("draft-offer")));

function ready() {
  submit.disabled = false;
  sending.hidden = true;
}

// The user came back to the page as the browser kept it.
window.addEventListener("pageshow", ({ persisted }) => persisted && ready());

/** @param {string} text what is wrong with none of the fields */
function showProblem(text) {
  failed.textContent = text;
  failed.hidden = !text;
}

/** @param {Record<string, string[]>} errors texts by the name of the field */
function showErrors(errors) {
  for (const line of form.querySelectorAll(".error:not([data-voice-error], .notice)")) line.remove();
  for (const name of ["voice_choice", "role_prompt", "name"]) {
    const input = find(form, `[name=${name}]`);
    input.setAttribute("aria-invalid", String(Boolean(errors[name])));
    if (!errors[name]) continue;
    const line = document.createElement("p");
    line.className = "error";
    line.id = `${input.id}_error`;
    line.textContent = errors[name].join(" ");
    input.setAttribute("aria-describedby", line.id);
    input.after(line);
    input.focus();
  }
  voice.showProblem((errors.voice ?? []).join(" "));
}
