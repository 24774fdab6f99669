// The review page: fetches what was kept and joins player, waveform, words and chart.

import { byId, make, setShown, setText } from "../shared/dom.js";
import { clockTenths, milliseconds } from "../shared/format.js";
import { LatencyChart } from "./latency_chart.js";
import { Player } from "./player.js";
import { pageRows, showNotes } from "./story.js";
import { TranscriptView } from "./transcript.js";
import { Waveform } from "./waveform.js";

const ENVELOPE_WAIT_MS = 2000;
const ENVELOPE_TRIES = 10;
const STAGES = {
  decode_ms: "Reading the user's sound",
  queue_ms: "Waiting for the tick",
  tick_ms: "The model's tick",
  worker_ms: "Voice engine, there and back",
  encode_ms: "Writing the agent's sound",
};

const page = byId("review").dataset;
let transcript = null;

const player = new Player(byId("recording"), { changed: show, failed: recordingFailed });
const waveform = new Waveform(byId("waveform"), Number(page.duration), seek);

function seek(seconds) {
  player.seek(seconds);
  show();
}

function show() {
  const { position, playing } = player;
  waveform.setPosition(position);
  setText(byId("position"), clockTenths(position));
  transcript?.setPosition(position, playing);
  byId("play").classList.toggle("playing", playing);
  byId("play").setAttribute("aria-label", playing ? "Pause" : "Play");
}

function follow() {
  if (player.playing) show();
  requestAnimationFrame(follow);
}

async function toggle() {
  try {
    await player.toggle();
  } catch {
    recordingFailed();
  }
}

function recordingFailed() {
  setText(
    byId("player-problem"),
    "This browser can't play the recording (Opus in Ogg). Download it below, or use a current Chrome, Edge or Firefox.",
  );
  setShown(byId("player-problem"), true);
}

async function load() {
  const response = await fetch(page.data, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.json();
}

async function begin() {
  let data;
  try {
    data = await load();
  } catch {
    setText(byId("words"), "The conversation could not be loaded. Reload the page to try again.");
    return;
  }
  showWords(data.transcript);
  if (data.latency) showLatency(data.latency, data.duration_s);
  showNotes(byId("notes"), data.notes, seek);
  setShown(byId("story"), data.notes.length > 0);
  if (data.page) showFacts(byId("page-figures"), pageRows(data.page));
  setShown(byId("heard"), Boolean(data.page));
  await showEnvelope(data);
}

function showWords(stretches) {
  if (!stretches.length) {
    byId("words").replaceChildren(make("p", { className: "muted", textContent: page.silent }));
    return;
  }
  transcript = new TranscriptView(byId("words"), stretches, seek);
  show();
}

async function showEnvelope(first) {
  let data = first;
  for (let tries = 0; !data.envelope && tries < ENVELOPE_TRIES; tries += 1) {
    setShown(byId("analysing"), true);
    await new Promise((resolve) => setTimeout(resolve, ENVELOPE_WAIT_MS));
    data = await load().catch(() => data);
  }
  setShown(byId("analysing"), false);
  if (data.envelope) waveform.setEnvelope(data.envelope);
}

function showLatency(latency, duration) {
  for (const name of ["p50", "p95", "p99", "max"]) {
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

function showFacts(list, rows) {
  const made = rows.map(([label, value]) =>
    make("div", {}, make("dt", { textContent: label }), make("dd", { textContent: value })),
  );
  list.replaceChildren(...made);
}

byId("play").addEventListener("click", toggle);
for (const side of ["user", "agent"]) {
  const input = byId(`volume-${side}`);
  input.addEventListener("input", () => player.setVolume(side, Number(input.value) / 100));
}
document.addEventListener("keydown", (event) => {
  const busy = event.target.closest?.("input, textarea, select, button, a, summary");
  if (event.key !== " " || busy || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  toggle();
});
show();
requestAnimationFrame(follow);
begin();
