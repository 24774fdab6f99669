// The page of a persona: its voice is sent, followed and shown without leaving it.

/** @import { Upload } from "./follow.js" */

import { byId, find, pageData } from "../shared/dom.js";
import { DraftOffer } from "./draft_offer.js";
import { follow } from "./follow.js";
import { enhanceRolePrompt } from "./role_prompt.js";
import { BROKEN_OFF, renewFormId, sendForm, unexpectedResponse } from "./send.js";
import { askBeforeTalking } from "./talk_dialog.js";
import { Unsaved } from "./unsaved.js";
import { VoiceField } from "./voice_field.js";

const form = byId("voice-form", HTMLFormElement);
const submit = find(form, "[data-submit]", HTMLButtonElement);
const progress = byId("upload");
const failed = byId("upload-failed");
const voice = new VoiceField(find(form, "[data-voice-field]"));
let stopFollowing = () => {};
enhanceRolePrompt(find(document, "[data-role-prompt]"));
const unsaved = new Unsaved(byId("persona-form", HTMLFormElement), new DraftOffer(byId("draft-offer")));
askBeforeTalking(byId("talk", HTMLAnchorElement), byId("talk-dialog", HTMLDialogElement), unsaved);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
form.addEventListener("voiceready", () => send());
// The page that follows a save has no recording any more.
byId("persona-form", HTMLFormElement).addEventListener(
  "submit",
  (event) => {
    if (!voice.pending) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    voice.showProblem("Your recording is not uploaded yet. Upload it or discard it, then save.");
    voice.root.scrollIntoView({ block: "center" });
  },
  { capture: true },
);

async function send() {
  if (submit.disabled) return; // a second click
  submit.disabled = true;
  const problem = await voice.settle();
  if (!voice.file && !problem) voice.showProblem("Choose a recording first, or make one.");
  else if (!problem) await sendFile();
  submit.disabled = false;
}

async function sendFile() {
  stopFollowing();
  failed.hidden = byId("upload-ready").hidden = true;
  show("Sending the recording …", 0);
  try {
    const { status, body } = await sendForm(form, (done) => show("Sending the recording …", 100 * done));
    if (status === 201 && body) {
      voice.clear();
      renewFormId(form);
      watch(/** @type {Upload} */ (body));
    } else {
      progress.hidden = true;
      voice.showProblem(body?.text ?? unexpectedResponse(status));
    }
  } catch {
    progress.hidden = true;
    voice.showProblem(BROKEN_OFF);
  }
}

/** @param {Upload} upload */
function watch(upload) {
  stopFollowing = follow(upload, (payload) => {
    if (payload.type === "progress") show(`${payload.text} …`, payload.percent);
    else if (payload.type === "ready") showReady();
    else showFailure(payload.text);
  });
}

/**
 * @param {string} text
 * @param {number} percent
 */
function show(text, percent) {
  progress.hidden = false;
  find(progress, "[data-text]").textContent = text;
  find(progress, "progress", HTMLProgressElement).value = percent;
}

/** Shows the voice, unless that would throw away what is being written. */
function showReady() {
  if (!unsaved.changed) {
    location.reload();
    return;
  }
  progress.hidden = true;
  byId("upload-ready").hidden = false;
}

/** @param {string} text */
function showFailure(text) {
  progress.hidden = true;
  failed.hidden = false;
  find(failed, "[data-text]").textContent = text;
}

const underway = /** @type {Upload | null} */ (pageData("following"));
if (underway) watch(underway);
