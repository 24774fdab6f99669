// The live page: joins the view to one conversation after another.

import { byId, pageData } from "../shared/dom.js";
import { supportedAudio } from "./audio_kinds.js";
import { Title, ring } from "./chime.js";
import { LiveConversation } from "./conversation.js";
import { Devices } from "./devices.js";
import { showFacts } from "./facts.js";
import { hearingNotice, microphoneNotice, siteNotice, words } from "./notes.js";
import { Notices } from "./notices.js";
import { SPEAKING, phaseOf } from "./phases.js";
import { browserProblem } from "./problems.js";
import { socketUrl } from "./protocol.js";
import { Retry } from "./retry.js";
import { SamplesPanel } from "./samples_panel.js";
import { SamplingPanel } from "./sampling_panel.js";
import { listenForKeys } from "./shortcuts.js";
import { LiveView } from "./view.js";
import { WakeLock } from "./wake_lock.js";

const REWIND_MS = 15_000; // after that the buttons work again, whatever the site did
const NOT_REWOUND = new Set(["rewind_impossible", "nothing_said", "busy"]); // notices
const ASKING_MS = 700; // longer than it takes to be told that there is no place yet
const LEVELS_MS = 40; // each drawing costs, most where no GPU draws
const PROBE_MS = 5000; // for the site to answer when its socket does not open
const PAUSED_MS = 500; // a pause of the sound that is worth a word

const page = byId("talk").dataset;
const view = new LiveView(page.name);
const say = words(page.name);
const notices = new Notices();
const title = new Title();
const wakeLock = new WakeLock();
const retry = new Retry((left) => view.countdown(left), () => begin());
const supported = supportedAudio();
const sampling = new SamplingPanel(pageData("sampling-choices"), page.persona);
const devices = new Devices({ current: () => conversation, notices, say });
const samples = new SamplesPanel(page.samples, {
  play: (bytes, onEnd) => conversation.playSample(bytes, onEnd),
  stop: () => conversation?.input?.stopSample(),
  failed: () => notices.show({ code: "sample", text: say.sampleFailed, brief: true }),
});

let conversation = null;
let progress = {};
let applied = null; // the sampling of the last conversation, with its seed
let factsTimer = null;
let levelsTimer = null;
let rewindTimer = null;

async function begin(wanted = sampling.asked()) {
  retry.stop();
  if (conversation) return;
  const problem = browserProblem(window);
  if (problem) {
    view.problem(problem);
    return;
  }
  view.fresh();
  notices.clear();
  progress = { site: "connecting" };
  view.phase("connecting");
  byId("status").focus(); // a second press of Enter must not end it
  // Taken already when the click comes: the conversation must begin within it.
  const audio = await supported;
  if (conversation) return;
  conversation = new LiveConversation({
    url: socketUrl(page.socket, location),
    siteAnswers,
    worklets: [page.capture, page.playback],
    clock: page.clock,
    sampling: wanted,
    devices: devices.chosen,
    withoutMicrophone: samples.available,
    audio,
    listener,
  });
  conversation.begin();
}

/** Whether plain HTTP gets through to the site. */
async function siteAnswers() {
  const options = { cache: "no-store", signal: AbortSignal.timeout(PROBE_MS) };
  const answer = await fetch(page.health, options).catch(() => null);
  return answer !== null;
}

function refresh() {
  const { place, until, expected, silent, muted, rewinding, hearing } = progress;
  const phase = phaseOf(progress);
  const seconds = phase === "resuming" ? Math.max(0, (until - Date.now()) / 1000) : expected;
  view.phase(phase, { place, seconds, silent, muted, rewinding, hearing });
  const speaking = phase === "live" || phase === "muted";
  view.again(SPEAKING.has(phase) && Boolean(conversation?.ready?.rewinds), !speaking);
  samples.enable(speaking);
}

const listener = {
  state({ state, seconds }) {
    clearTimeout(progress.askingTimer);
    const now = () => {
      Object.assign(progress, { site: state, expected: seconds });
      refresh();
    };
    // The site asks for a place now and then: "priming" counts once it lasts.
    if (state !== "priming" || progress.site !== "waiting") now();
    else progress.askingTimer = setTimeout(now, ASKING_MS);
  },
  waiting(event) {
    clearTimeout(progress.askingTimer);
    progress.site = "waiting";
    progress.place = event;
    title.waiting(event.position);
    refresh();
  },
  microphone(microphone, problem, reason) {
    progress.microphoneAsked = true;
    progress.silent = !microphone;
    devices.microphone(microphone, problem);
    const again = () => devices.findMicrophone();
    const note = microphoneNotice(say, { microphone, problem, reason }, again);
    notices.hide("microphone");
    if (note) notices.show(note);
    if (!microphone) samples.open();
    refresh();
  },
  silenced(silenced) {
    if (silenced) notices.show({ code: "silenced", text: say.silenced });
    else notices.hide("silenced");
  },
  hearing(problem) {
    progress.hearing = problem;
    const note = hearingNotice(say, problem, conversation?.input?.microphone, () => devices.choose());
    notices.hide("hearing");
    if (note) notices.show(note);
    refresh();
  },
  ready(event) {
    const first = !factsTimer;
    clearTimeout(progress.askingTimer);
    if (first && progress.place) called();
    applied = { ...event.sampling, seed: event.seed };
    Object.assign(progress, { site: "live", lost: false });
    tellContext(event.context_seconds);
    view.ready(event);
    refresh();
    if (!first) return;
    progress.liveSince = performance.now();
    wakeLock.hold();
    factsTimer = setInterval(tick, 250);
    tick();
    levelsTimer = setInterval(showLevels, LEVELS_MS);
  },
  text(frame, piece) {
    view.text(frame, piece);
  },
  rewound(event) {
    view.rewound(event.frame, event.seconds);
    tellContext(event.context_seconds);
    backAgain();
  },
  notice(event) {
    notices.show(siteNotice(event));
    if (NOT_REWOUND.has(event.code)) backAgain();
  },
  lost(until) {
    Object.assign(progress, { site: "resuming", lost: true, until, rewinding: false });
    refresh();
  },
  echo() {
    if (progress.echoTold) return;
    progress.echoTold = true;
    notices.show({ code: "echo", text: say.echo });
  },
  paused(paused, played) {
    notices.hide("paused");
    clearTimeout(progress.pausedTimer);
    if (paused) {
      progress.pausedTimer = setTimeout(() => tellPaused(played), PAUSED_MS);
      conversation?.wake();
    } else if (progress.paused) {
      progress.paused = false;
      devices.retry(); // a call takes the microphone, too
      refresh();
    }
  },
  ended({ text, url }) {
    const kept = url ?? keptUrl();
    over();
    view.ended(text, kept, applied?.seed);
  },
  problem(problem) {
    const kept = keptUrl();
    over();
    view.problem(problem);
    view.kept(kept, undefined);
    if (problem.retryable && problem.retry_after_s) retry.start(problem.retry_after_s);
  },
};

// It is one's turn after having waited.
function called() {
  ring(conversation.context);
  title.call(say.yourTurn);
}

function tellPaused(played) {
  progress.paused = true;
  const action = { label: "Go on", run: () => conversation?.wake() };
  notices.show({ code: "paused", text: played ? say.interrupted : say.paused, action });
  refresh();
}

function over() {
  if (factsTimer) tick();
  clearInterval(factsTimer);
  clearInterval(levelsTimer);
  clearTimeout(rewindTimer);
  clearTimeout(progress.pausedTimer);
  clearTimeout(progress.askingTimer);
  factsTimer = null;
  wakeLock.release();
  title.clear();
  notices.clear();
  conversation = null;
  view.levels(0, 0);
  view.again(false, true);
  samples.enable(false);
}

function keptUrl() {
  const id = conversation?.ready?.conversation;
  return id ? `${page.conversations}${id}/` : null;
}

function tellContext(seconds) {
  progress.context = seconds;
  progress.contextAt = performance.now();
}

function showLevels() {
  if (!conversation || progress.paused) return view.levels(0, 0);
  const heard = !progress.muted || conversation.input?.samplePlaying;
  const user = heard ? (conversation.userLevel?.read() ?? 0) : 0;
  view.levels(user, conversation.agentLevel?.read() ?? 0);
}

function tick() {
  const now = performance.now();
  showFacts({
    elapsed: (now - progress.liveSince) / 1000,
    sinceReady: (now - progress.contextAt) / 1000,
    context: progress.context,
    conversation,
  });
  if (progress.lost) refresh(); // the seconds left
}

function toggleMute() {
  if (!factsTimer || progress.ending) return;
  progress.muted = !progress.muted;
  conversation.setMuted(progress.muted);
  refresh();
}

function goBack(ask) {
  if (!["live", "muted"].includes(phaseOf(progress)) || !conversation.ready.rewinds) return;
  ask();
  Object.assign(progress, { site: "recovering", rewinding: true });
  rewindTimer = setTimeout(backAgain, REWIND_MS);
  refresh();
}

function backAgain() {
  clearTimeout(rewindTimer);
  if (!progress.rewinding) return;
  Object.assign(progress, { site: "live", rewinding: false });
  refresh();
}

function end() {
  if (!conversation) return;
  if (factsTimer) {
    progress.ending = true;
    view.phase("ending");
    conversation.end();
    return;
  }
  conversation.leave();
  over();
  view.phase("idle");
  view.start.focus();
}

view.start.addEventListener("click", () => begin());
view.mute.addEventListener("click", toggleMute);
view.end.addEventListener("click", end);
byId("retry").addEventListener("click", () => begin());
byId("same-seed").addEventListener("click", () => begin(applied));
byId("stop-retry").addEventListener("click", () => retry.stop());
byId("say-again").addEventListener("click", () => goBack(() => conversation.sayAgain()));
for (const button of document.querySelectorAll("[data-rewind]")) {
  const seconds = Number(button.dataset.rewind);
  button.addEventListener("click", () => goBack(() => conversation.rewind(seconds)));
}
listenForKeys({
  m: toggleMute,
  r: () => goBack(() => conversation.sayAgain()),
  b: () => goBack(() => conversation.rewind(10)),
});
document.addEventListener("click", () => conversation?.wake());
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
