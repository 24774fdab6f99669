import { deepEqual as equal, ok } from "node:assert/strict";
import { test } from "node:test";

import { LatencyMeter } from "../../static/js/live/latency.js";
import { loudness } from "../../static/js/live/level.js";
import { microphoneNotice, siteNotice, textsFor } from "../../static/js/live/notes.js";
import { joinPackets } from "../../static/js/live/opus_packets.js";
import { pageStats } from "../../static/js/live/page_stats.js";
import { BUSY, describe, memoryLabel, memoryLeft, phaseOf } from "../../static/js/live/phases.js";
import {
  browserProblem,
  closeProblem,
  microphoneProblem,
} from "../../static/js/live/problems.js";
import {
  MUTED,
  OPUS,
  PCM,
  packFrame,
  socketUrl,
  unpackFrame,
} from "../../static/js/live/protocol.js";
import { RestartingCodec } from "../../static/js/live/restarting_codec.js";
import { askedFor, describeSampling } from "../../static/js/live/sampling.js";
import { TRANSITIONS } from "../../static/js/live/states.js";
import { Timeline, Transcript } from "../../static/js/live/transcript.js";
import { near } from "./near.js";

test("a user frame is eight bytes of header and the payload", () => {
  const message = packFrame(OPUS, 0x01020304, Uint8Array.of(9, 8), true);
  equal([...message], [OPUS, MUTED, 0, 0, 4, 3, 2, 1, 9, 8]);
});

test("an agent frame is read back", () => {
  const buffer = Uint8Array.of(OPUS, 3, 0x2c, 1, 7, 0, 0, 0, 5, 6).buffer;
  const frame = unpackFrame(buffer);
  equal({ ...frame, payload: [...frame.payload] }, {
    kind: OPUS, seq: 7, late: true, droppedBefore: true, pathMs: 30, payload: [5, 6],
  });
});

test("what is no agent frame is refused", () => {
  equal(unpackFrame(new ArrayBuffer(8)), null);
  equal(unpackFrame(Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0, 1).buffer), null);
  equal(unpackFrame(Uint8Array.of(PCM, 0, 0, 0, 0, 0, 0, 0, 1).buffer), null);
});

test("the socket is as secure as the page", () => {
  equal(socketUrl("/ws/x/", { protocol: "https:", host: "a.org" }), "wss://a.org/ws/x/");
  equal(socketUrl("/ws/x/", { protocol: "http:", host: "localhost:1" }), "ws://localhost:1/ws/x/");
});

test("latency is from the captured sample to the played one, and its parts add up", () => {
  const meter = new LatencyMeter(48000);
  equal(meter.summary(40), null);
  meter.sent(5, 48000, 1000);
  meter.received(5, 22.5, 1035);
  meter.played(5, 48000 + 4800); // 100 ms later
  equal(meter.summary(40), { totalMs: 140, tripMs: 35, pathMs: 22.5, bufferMs: 65, deviceMs: 40 });
});

test("latency ignores answers to frames that were not sent, and forgets lost frames", () => {
  const meter = new LatencyMeter(48000);
  meter.received(3, 1, 1);
  meter.played(3, 1);
  for (let seq = 0; seq < 1000; seq += 1) meter.sent(seq, 0, 0);
  ok(meter.waiting.size <= 251, `${meter.waiting.size} kept`);
  equal(meter.summary(0), null);
});

test("pieces join to words, and a pause begins a new line", () => {
  const transcript = new Transcript();
  equal(transcript.add(10, " Hel"), true);
  equal(transcript.add(11, "lo"), false);
  equal(transcript.add(13, ","), false);
  equal(transcript.add(14, " there"), false);
  equal(transcript.add(60, " Bye"), true);
  equal(transcript.lines.map((line) => line.text), ["Hello, there", "Bye"]);
});

test("a line that has grown long ends with its word", () => {
  const transcript = new Transcript();
  for (let frame = 0; frame < 300; frame += 1) {
    transcript.add(frame, " wo");
    transcript.add(frame, "rd");
  }
  equal(transcript.lines.length, 4); // of 400 characters
  ok(transcript.lines.every(({ text }) => /^word( word)*$/.test(text)), "torn");
});

test("a pause inside a word does not tear it", () => {
  const transcript = new Transcript();
  transcript.add(0, " extra");
  equal(transcript.add(90, "ordinary"), false);
  equal(transcript.last.text, "extraordinary");
});

test("after going back the words begin a new line", () => {
  const transcript = new Transcript();
  transcript.add(0, " Good");
  transcript.break();
  equal(transcript.add(2, "bye"), true);
});

test("what is forgotten counts the model's time, not what was forgotten before", () => {
  const timeline = new Timeline();
  equal(timeline.back(100, 40), [[60, 100]]);
  // 30 frames since, and 20 of those before the first going back.
  equal(timeline.back(130, 50), [[100, 130], [40, 60]]);
  equal(timeline.back(135, 500), [[130, 135], [0, 40]]);
  equal(timeline.ranges, [[135, Infinity]]);
});

test("a phase is the state, but for the microphone, a pause and being muted", () => {
  const phase = (state, sound = {}) => phaseOf(state, { asking: false, paused: false, muted: false, ...sound });
  for (const state of Object.keys(TRANSITIONS).filter((state) => state !== "rewinding")) equal(phase(state), state);
  equal(phase("rewinding"), "recovering");
  equal(phase("live", { muted: true }), "muted");
  equal(phase("live", { muted: true, paused: true }), "paused");
  for (const state of ["live", "priming", "recovering"]) equal(phase(state, { asking: true, muted: true }), "permission");
  for (const state of ["connecting", "waiting", "resuming", "ending"]) {
    equal(phase(state, { asking: true, muted: true, paused: true }), state);
  }
});

test("every phase has words for every detail", () => {
  for (const phase of [...BUSY, "idle", "ended", "problem"]) {
    ok(describe(phase, "Ada").status, phase);
    ok(!/undefined|NaN|null/.test(JSON.stringify(describe(phase, "Ada"))), phase);
  }
  const place = { position: 3, of: 5, eta_s: 130 };
  const { status, hint } = describe("waiting", "Ada", { place });
  equal(status, "Number 3 in the queue");
  ok(hint.startsWith("Your turn comes in about 2 minutes. 5 people wait."), hint);
  const turn = (/** @type {number | null} */ eta_s) =>
    describe("waiting", "Ada", { place: { position: 2, of: 1, eta_s } }).hint.split(".")[0];
  equal(turn(25), "Your turn comes in about 30 seconds");
  equal(turn(4.9), "Your turn comes in a few seconds");
  equal(turn(81), "Your turn comes in about 90 seconds");
  equal(turn(90), "Your turn comes in about 2 minutes");
  equal(turn(null), "Your turn comes as soon as there is room");
  equal(describe("waiting", "Ada", { place: { position: 1, of: 1, eta_s: null } }).status, "You are next");
  ok(describe("resuming", "Ada", { seconds: 12.2 }).hint.includes("13 seconds"), "countdown");
});

test("memory left counts down, then says what happens", () => {
  equal(memoryLeft(240, 61), "2:59");
  equal(memoryLeft(240, 241, "slide"), "older parts fade");
  equal(memoryLeft(240, 241, "end"), "none");
  equal(memoryLeft(0, 5), "–");
  equal(memoryLabel(240, 61, "slide"), "Full memory left");
  equal(memoryLabel(240, 241, "slide"), "Memory");
  equal(memoryLabel(240, 241, "end"), "Time left");
});

const CHOICES = {
  temperature_text: { least: 0.1, most: 1.5, default: 0.7 },
  top_k_text: { least: 1, most: 1000, default: 25 },
  seed: { least: 0, most: 2147483647, default: null },
};

test("only what differs from the defaults is asked for, within its range", () => {
  equal(askedFor(CHOICES, {}), {});
  equal(askedFor(CHOICES, { temperature_text: 0.7, top_k_text: 25 }), {});
  equal(askedFor(CHOICES, { temperature_text: 9, top_k_text: 12.4, seed: 0 }), {
    temperature_text: 1.5, top_k_text: 12, seed: 0,
  });
  equal(askedFor(CHOICES, { temperature_text: NaN, seed: "7", greedy: true }), {});
});

test("what was applied is described in a line", () => {
  const sampling = { temperature_text: 0.7, top_k_text: 25, temperature_audio: 0.8, top_k_audio: 250 };
  equal(describeSampling(sampling, 7), "words 0.7, top 25 · voice 0.8, top 250 · seed 7");
  equal(describeSampling({ ...sampling, greedy: true }, 7), "always the likeliest");
  equal(describeSampling(undefined, 7), "–");
});

test("a codec that fails is replaced, and given up after 3 times in a minute", () => {
  let now = 0;
  let made = 0;
  let up = 0;
  const failures = [];
  const make = (failed) => {
    made += 1;
    failures.push(failed);
    return { encode: (works) => works || undefined.broken, close() {} };
  };
  const codec = new RestartingCodec(make, () => (up += 1), () => now);
  const encode = (works) => codec.run((made) => made.encode(works));
  equal(encode(true), true);
  failures[0]();
  failures[0](); // the old one again: it is gone already
  equal([made, up], [2, 0]);
  equal(encode(false), false); // threw
  equal([made, up], [3, 0]);
  now = 61_000;
  failures.at(-1)();
  equal([made, up], [4, 0]);
  failures.at(-1)();
  failures.at(-1)();
  equal([made, up], [5, 1]);
  equal(encode(true), false);
});

test("each change of the microphone has a text of its own", () => {
  const texts = textsFor("Ada");
  const microphone = { label: "Headset" };
  const problem = { code: "microphone_NotFoundError", text: "None found." };
  const text = (event) => microphoneNotice(texts, event, () => {}).text;
  equal(microphoneNotice(texts, { microphone, problem: null, reason: "first" }, null), null);
  ok(text({ microphone, problem: null, reason: "lost" }).startsWith("The microphone was disconnected. Now using “Headset”"), "lost");
  equal(text({ microphone, problem: null, reason: "chosen" }), "Now using “Headset”.");
  ok(text({ microphone, problem, reason: "chosen" }).endsWith("“Headset” stays in use."), "kept");
  ok(text({ microphone: null, problem, reason: "lost" }).includes("Ada hears silence"), "none");
});

test("notices of the site keep their words; those of the context stay", () => {
  equal(siteNotice({ code: "context_low", text: "A" }), {
    code: "site-context", text: "A", kind: "warning", brief: false,
  });
  equal(siteNotice({ code: "context_full", text: "C" }).code, "site-context");
  equal(siteNotice({ code: "moved", text: "B" }).brief, true);
});

test("the page's figures are finite numbers and truth values", () => {
  const conversation = {
    flow: { dropped: 1, late: 2 },
    playback: { jitterMs: 3.14159, underruns: 1, skippedMs: 9.99, stretchedMs: 0 },
    echo: { correlation: 0.123 },
    muted: false,
    latencyNow: () => null,
  };
  equal(pageStats(conversation, true), {
    jitter_ms: 3.1, underruns: 1, skipped_ms: 10, stretched_ms: 0, dropped: 1, late: 2,
    echo: 0.12, muted: false, hidden: true,
  });
  conversation.latencyNow = () => ({ totalMs: 160.04, bufferMs: 55 });
  equal([pageStats(conversation, true).latency_ms, pageStats(conversation, true).buffer_ms], [160, 55]);
});

test("each problem says what to do", () => {
  const good = { isSecureContext: true, AudioWorkletNode: 1, navigator: { mediaDevices: { getUserMedia: 1 } } };
  equal(browserProblem(good), null);
  ok(browserProblem({ ...good, isSecureContext: false }).text.includes("https://"), "insecure");
  ok(browserProblem({ ...good, AudioWorkletNode: undefined }).text.includes("Firefox"), "old");
  ok(microphoneProblem({ name: "NotAllowedError" }).text.includes("Allow it"), "refused");
  ok(microphoneProblem({ name: "NotFoundError" }).text.includes("Connect one"), "missing");
  ok(microphoneProblem({ name: "X", message: "boom" }).text.includes("(boom)"), "other");
});

test("each code of a closed socket has its text", () => {
  ok(closeProblem(1006, true).text.includes("is kept"), "lost while live");
  ok(closeProblem(1006, false).text.includes("can't be reached"), "never reached");
  equal(closeProblem(4401, false).retryable, false);
  equal(closeProblem(4503, false).retryable, true);
});

test("loudness runs from -60 dB to -6 dB", () => {
  equal(loudness(new Float32Array(10)), 0);
  near(loudness(new Float32Array(10).fill(0.5012)), 1, 1e-3);
  near(loudness(new Float32Array(10).fill(0.0224)), 0.5, 1e-2);
});

test("packets of one frame join to one of several", () => {
  const toc = 31 << 3;
  const long = new Uint8Array(300).fill(7);
  long[0] = toc;
  const joined = joinPackets([Uint8Array.of(toc, 1, 2), long, Uint8Array.of(toc), Uint8Array.of(toc, 9)]);
  // 299 bytes are 255 + 4 × 11 in two bytes.
  equal([...joined.subarray(0, 9)], [toc | 3, 0x84, 2, 255, 11, 0, 1, 2, 7]);
  equal([joined.length, joined.at(-1)], [6 + 2 + 299 + 1, 9]);
  equal(joinPackets([Uint8Array.of(toc, 1), Uint8Array.of(toc - 8, 1)]), null);
  equal(joinPackets([Uint8Array.of(toc | 1, 1)]), null);
});
