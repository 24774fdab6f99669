import { LatencyMeter } from "../../static/js/live/latency.js";
import { loudness } from "../../static/js/live/level.js";
import { memoryLeft, phaseOf } from "../../static/js/live/phases.js";
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
import { Transcript } from "../../static/js/live/transcript.js";
import { equal, near, ok, test } from "./harness.js";

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

test("latency ignores answers that nobody waits for, and forgets lost frames", () => {
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

test("a pause inside a word does not tear it", () => {
  const transcript = new Transcript();
  transcript.add(0, " extra");
  equal(transcript.add(90, "ordinary"), false);
  equal(transcript.last.text, "extraordinary");
});

test("phases follow the site, the microphone and the buttons", () => {
  const base = { site: "live", microphoneOpen: true, muted: false, ending: false };
  equal(phaseOf(base), "live");
  equal(phaseOf({ ...base, muted: true }), "muted");
  equal(phaseOf({ ...base, ending: true }), "ending");
  equal(phaseOf({ ...base, microphoneOpen: false }), "permission");
  equal(phaseOf({ ...base, site: "priming" }), "priming");
  equal(phaseOf({ ...base, site: "connecting", microphoneOpen: false }), "connecting");
});

test("memory left counts down, then says what happens", () => {
  equal(memoryLeft(240, 61), "2:59");
  equal(memoryLeft(240, 241), "older parts fade");
  equal(memoryLeft(0, 5), "–");
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

test("a closed socket is told apart by its code", () => {
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
