// The live page: makes its parts, and joins them and its buttons to the controller.

/** @import { ConversationListener } from "./conversation.js" */
/** @import { Sampling } from "./protocol.js" */

import { byId, dataOf, pageData } from "../shared/dom.js";
import { supportedAudio } from "./audio_kinds.js";
import { Title, ring } from "./chime.js";
import { LiveController } from "./controller.js";
import { LiveConversation } from "./conversation.js";
import { Devices } from "./devices.js";
import { showFacts } from "./facts.js";
import { textsFor } from "./notes.js";
import { Notices } from "./notices.js";
import { browserProblem } from "./problems.js";
import { socketUrl } from "./protocol.js";
import { SamplesPanel } from "./samples_panel.js";
import { SamplingPanel } from "./sampling_panel.js";
import { listenForKeys } from "./shortcuts.js";
import { LiveView } from "./view.js";
import { WakeLock } from "./wake_lock.js";

const PROBE_MS = 5000; // for the site to answer when its socket does not open

const talk = byId("talk");
const page = (/** @type {string} */ name) => dataOf(talk, name);
const texts = textsFor(page("name"));
const notices = new Notices();
const supported = supportedAudio();
const sampling = new SamplingPanel(pageData("sampling-choices"), page("persona"));
const devices = new Devices({ current: () => controller.conversation, notices, texts });
const samples = new SamplesPanel(page("samples"), {
  play: async (bytes, onEnd) => controller.conversation?.playSample(bytes, onEnd),
  stop: () => controller.conversation?.stopSample(),
  failed: () => notices.show({ code: "sample", text: texts.sampleFailed, brief: true }),
});
const view = new LiveView(page("name"));
const controller = new LiveController(
  {
    view,
    notices,
    texts,
    devices,
    samples,
    title: new Title(),
    wakeLock: new WakeLock(),
    askedSampling: () => sampling.asked(),
    browserProblem: () => browserProblem(window),
    makeConversation,
    reviewUrl: (id) => `${page("conversations")}${id}/`,
    showFacts,
    ring: ({ context }) => context && ring(context),
  },
  reportError,
);

/**
 * What the browser supports is known when the click comes: the conversation must begin
 * within it.
 * @param {Sampling} asked
 * @param {ConversationListener} listener
 */
async function makeConversation(asked, listener) {
  return new LiveConversation({
    url: socketUrl(page("socket"), location),
    siteAnswers,
    worklets: [page("capture"), page("playback")],
    clock: page("clock"),
    sampling: asked,
    devices: devices.chosen,
    withoutMicrophone: samples.available,
    audio: await supported,
    listener,
  });
}

/** Whether plain HTTP gets through to the site. */
async function siteAnswers() {
  /** @type {RequestInit} */
  const options = { cache: "no-store", signal: AbortSignal.timeout(PROBE_MS) };
  const answer = await fetch(page("health"), options).catch(() => null);
  return answer !== null;
}

view.start.addEventListener("click", () => controller.begin());
view.mute.addEventListener("click", () => controller.toggleMute());
view.end.addEventListener("click", () => controller.end());
byId("retry").addEventListener("click", () => controller.begin());
byId("same-seed").addEventListener("click", () => controller.begin(controller.applied));
byId("stop-retry").addEventListener("click", () => controller.retry.stop());
byId("say-again").addEventListener("click", () => controller.sayAgain());
for (const button of /** @type {NodeListOf<HTMLElement>} */ (talk.querySelectorAll("[data-rewind]"))) {
  button.addEventListener("click", () => controller.rewind(Number(button.dataset.rewind)));
}
listenForKeys({
  m: () => controller.toggleMute(),
  r: () => controller.sayAgain(),
  b: () => controller.rewind(10),
});
document.addEventListener("click", () => controller.conversation?.wake());
window.addEventListener("pagehide", () => controller.leavePage());
window.addEventListener("pageshow", ({ persisted }) => persisted && controller.comeBack());

view.start.disabled = false; // a click before this module ran would be lost
