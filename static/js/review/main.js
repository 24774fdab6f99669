// The review page: fetches the data and connects player, waveform, transcript and chart.

/** @import { Latency, Segment } from "./data.js" */

import { byId, dataOf, find, isInside, make, setShown, setText } from "../shared/dom.js";
import { clockTenths, milliseconds } from "../shared/format.js";
import { clientRows } from "./client_metrics.js";
import { Refused, fetchConversation } from "./data.js";
import { showEvents } from "./events.js";
import { LatencyChart } from "./latency_chart.js";
import { fetchLevels, pollLevels } from "./levels.js";
import { Player, SIDES } from "./player.js";
import { TranscriptView } from "./transcript.js";
import { Waveform } from "./waveform.js";

/** @type {Record<string, string>} */
const STAGES = {
  decode_ms: "Opus decode",
  queue_ms: "Worker queue",
  tick_ms: "Model tick",
  worker_ms: "Worker round trip",
  encode_ms: "Opus encode",
};

const NOT_LOADED = "The conversation could not be loaded. Reload the page to try again.";

const review = byId("review");
/** @type {TranscriptView | null} */
let transcript = null;

const audio = byId("recording", HTMLAudioElement);
const player = new Player(audio, { changed: showPlaying, failed: recordingFailed });
const waveform = new Waveform(byId("waveform"), {
  audio,
  duration: Number(dataOf(review, "duration")),
  nonce: find(document, "link[nonce]", HTMLLinkElement).nonce,
  moved: showPosition,
  clicked: () => player.play().catch(recordingFailed),
  zoomed: showZoom,
});

/** @param {number} seconds */
function seek(seconds) {
  waveform.seek(seconds);
}

/** @param {number} seconds */
function showPosition(seconds) {
  setText(byId("position"), clockTenths(seconds));
  transcript?.setPosition(seconds, player.playing);
}

function showPlaying() {
  byId("play").classList.toggle("playing", player.playing);
  byId("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
}

function showZoom() {
  byId("zoom-in").ariaDisabled = String(!waveform.canZoomIn);
  byId("zoom-out").ariaDisabled = String(!waveform.canZoomOut);
}

function toggle() {
  return player.toggle().catch(recordingFailed);
}

function recordingFailed() {
  setText(
    byId("player-problem"),
    "This browser can't play the recording (Opus in Ogg). Download it below, or use a current Chrome, Edge or Firefox.",
  );
  setShown(byId("player-problem"), true);
}

async function begin() {
  let data;
  try {
    data = await fetchConversation(dataOf(review, "data"));
  } catch (error) {
    setText(byId("words"), error instanceof Refused ? error.message : NOT_LOADED);
    return;
  }
  showTranscript(data.transcript);
  if (data.latency) showLatency(data.latency, data.duration_s);
  showEvents(byId("event-list"), data.events, seek);
  setShown(byId("events"), data.events.length > 0);
  if (data.client_metrics) showFacts(byId("client-metrics"), clientRows(data.client_metrics));
  setShown(byId("client"), Boolean(data.client_metrics));
}

/** @param {Segment[]} segments */
function showTranscript(segments) {
  if (!segments.length) {
    const silent = dataOf(review, "silent");
    byId("words").replaceChildren(make("p", { className: "muted", textContent: silent }));
    return;
  }
  transcript = new TranscriptView(byId("words"), segments, seek);
  showPosition(waveform.position);
}

/** @param {string} address */
async function showLevels(address) {
  const waiting = () => setShown(byId("analysing"), true);
  const request = () => fetchLevels(address);
  const levels = await pollLevels(request, { waiting }).catch(() => null);
  if (levels) waveform.setLevels(levels);
  else setText(byId("analysing"), "The waveform is not ready yet. Reload the page to try again.");
  setShown(byId("analysing"), !levels);
}

/**
 * @param {Latency} latency
 * @param {number} duration
 */
function showLatency(latency, duration) {
  for (const name of /** @type {const} */ (["p50", "p95", "p99", "max"])) {
    setText(byId(`path-${name}`), milliseconds(latency[`${name}_ms`]));
  }
  const stages = Object.entries(latency.stages ?? {});
  showFacts(
    byId("stages"),
    stages.map(([name, ms]) => [STAGES[name] ?? name, milliseconds(ms)]),
  );
  setShown(byId("latency"), true);
  new LatencyChart(byId("latency-chart"), latency.series, duration);
}

/**
 * @param {HTMLElement} list
 * @param {string[][]} rows label and value
 */
function showFacts(list, rows) {
  const made = rows.map(([label, value]) =>
    make("div", {}, make("dt", { textContent: label }), make("dd", { textContent: value })),
  );
  list.replaceChildren(...made);
}

byId("play").addEventListener("click", toggle);
byId("zoom-in").addEventListener("click", () => waveform.zoomIn());
byId("zoom-out").addEventListener("click", () => waveform.zoomOut());
for (const side of SIDES) {
  const input = byId(`volume-${side}`, HTMLInputElement);
  input.addEventListener("input", () => player.setVolume(side, Number(input.value) / 100));
}
document.addEventListener("keydown", (event) => {
  const busy = isInside(event, "input, textarea, select, button, a, summary");
  if (event.key !== " " || busy || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  toggle();
});
begin();
// Of a live conversation no levels are made.
if (review.dataset.levels) showLevels(review.dataset.levels);
