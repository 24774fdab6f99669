// The page of a persona: its voice is sent, followed and shown without leaving it.

import { byId, pageData } from "../shared/dom.js";
import { DraftOffer } from "./draft_offer.js";
import { follow } from "./follow.js";
import { enhanceRolePrompt } from "./role_prompt.js";
import { BROKEN_OFF, renewFormId, sendForm, unexpectedResponse } from "./send.js";
import { askBeforeTalking } from "./talk_dialog.js";
import { Unsaved } from "./unsaved.js";
import { VoiceField } from "./voice_field.js";

const form = byId("voice-form");
const submit = form.querySelector("[data-submit]");
const progress = byId("upload");
const failed = byId("upload-failed");
const voice = new VoiceField(form.querySelector("[data-voice-field]"));
let stopFollowing = () => {};
enhanceRolePrompt(document.querySelector("[data-role-prompt]"));
const unsaved = new Unsaved(byId("persona-form"), new DraftOffer(byId("draft-offer")));
askBeforeTalking(byId("talk"), byId("talk-dialog"), unsaved);

form.addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
form.addEventListener("voiceready", () => send());

async function send() {
  if (submit.disabled) return; // a second click
  submit.disabled = true;
  if (!voice.file) voice.showProblem("Choose a recording first, or make one.");
  else if (!(await voice.check())) await sendFile();
  submit.disabled = false;
}

async function sendFile() {
  stopFollowing();
  failed.hidden = byId("upload-ready").hidden = true;
  show("Sending the recording …", 0);
  try {
    const { status, body } = await sendForm(form, (done) => show("Sending the recording …", 100 * done));
    if (status === 201) {
      voice.clear();
      renewFormId(form);
      watch(body);
    } else {
      progress.hidden = true;
      voice.showProblem(body?.text ?? unexpectedResponse(status));
    }
  } catch {
    progress.hidden = true;
    voice.showProblem(BROKEN_OFF);
  }
}

function watch(upload) {
  stopFollowing = follow(upload, (payload) => {
    if (payload.type === "progress") show(`${payload.text} …`, payload.percent);
    else if (payload.type === "ready") showReady();
    else showFailure(payload.text);
  });
}

function show(text, percent) {
  progress.hidden = false;
  progress.querySelector("[data-text]").textContent = text;
  progress.querySelector("progress").value = percent;
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

function showFailure(text) {
  progress.hidden = true;
  failed.hidden = false;
  failed.querySelector("[data-text]").textContent = text;
}

const underway = pageData("following");
if (underway) watch(underway);
