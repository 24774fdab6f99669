// The live page: joins the view to one conversation after another.

import { byId } from "../shared/dom.js";
import { supportedAudio } from "./audio_kinds.js";
import { LiveConversation } from "./conversation.js";
import { phaseOf } from "./phases.js";
import { browserProblem } from "./problems.js";
import { socketUrl } from "./protocol.js";
import { Retry } from "./retry.js";
import { LiveView } from "./view.js";
import { WakeLock } from "./wake_lock.js";

const page = byId("talk").dataset;
const view = new LiveView(page.name);
const wakeLock = new WakeLock();
const retry = new Retry((left) => view.countdown(left), begin);
const supported = supportedAudio();

let conversation = null;
let progress = {};
let liveSince = null;
let factsTimer = null;

async function begin() {
  retry.stop();
  if (conversation) return;
  const problem = browserProblem(window);
  if (problem) {
    view.problem(problem);
    return;
  }
  view.fresh();
  progress = { site: "connecting", microphoneOpen: false, muted: false, ending: false };
  view.phase("connecting");
  byId("end").focus();
  const options = { url: socketUrl(page.socket, location), worklets: [page.capture, page.playback] };
  // Taken already when the click comes: the conversation must begin within it.
  const audio = await supported;
  if (conversation) return;
  conversation = new LiveConversation({ ...options, audio, listener });
  conversation.begin();
}

const listener = {
  state(name) {
    progress.site = name;
    view.phase(phaseOf(progress));
  },
  microphoneOpen() {
    progress.microphoneOpen = true;
    view.phase(phaseOf(progress));
  },
  ready(event) {
    progress.site = "live";
    liveSince = performance.now();
    wakeLock.hold();
    view.ready(event);
    view.phase(phaseOf(progress));
    factsTimer = setInterval(showFacts, 250);
    showFacts();
    requestAnimationFrame(showLevels);
  },
  text(frame, piece) {
    view.text(frame, piece);
  },
  ended({ text, url }) {
    const kept = url ?? keptUrl();
    over();
    view.ended(text, kept);
  },
  problem(problem) {
    const kept = keptUrl();
    over();
    view.problem(problem);
    view.kept(kept);
    if (problem.retryable && problem.retry_after_s) retry.start(problem.retry_after_s);
  },
};

function over() {
  showFacts();
  clearInterval(factsTimer);
  wakeLock.release();
  conversation = null;
  liveSince = null;
  view.levels(0, 0);
}

function keptUrl() {
  const id = conversation?.ready?.conversation;
  return id ? `${page.conversations}${id}/` : null;
}

function showLevels() {
  if (liveSince === null) return;
  const user = progress.muted ? 0 : (conversation.userLevel?.read() ?? 0);
  view.levels(user, conversation.agentLevel?.read() ?? 0);
  requestAnimationFrame(showLevels);
}

function showFacts() {
  if (liveSince === null) return;
  view.facts({
    elapsed: (performance.now() - liveSince) / 1000,
    contextSeconds: conversation.ready.context_seconds,
    latency: conversation.latencyNow(),
    flow: conversation.flow,
    playback: conversation.playback,
  });
}

function toggleMute() {
  if (liveSince === null || progress.ending) return;
  progress.muted = !progress.muted;
  conversation.setMuted(progress.muted);
  view.phase(phaseOf(progress));
}

function end() {
  if (!conversation) return;
  if (liveSince === null) {
    conversation.close();
    over();
    view.phase("idle");
    view.start.focus();
    return;
  }
  progress.ending = true;
  view.phase("ending");
  conversation.end();
}

view.start.addEventListener("click", begin);
view.mute.addEventListener("click", toggleMute);
view.end.addEventListener("click", end);
byId("retry").addEventListener("click", begin);
byId("stop-retry").addEventListener("click", () => retry.stop());
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, textarea, select");
  if (event.key.toLowerCase() !== "m" || typing || event.repeat) return;
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  toggleMute();
});
// The server ends the conversation as "the page was closed".
window.addEventListener("pagehide", () => conversation?.close());
window.addEventListener("pageshow", (event) => {
  if (!event.persisted || !conversation) return;
  listener.ended({ text: "The page was left." });
});

view.start.disabled = false; // a click before this module ran would be lost
const problem = browserProblem(window);
if (problem) view.problem(problem);
else view.phase("idle");
