import { deepEqual as equal } from "node:assert/strict";
import { test } from "node:test";

import { MicrophoneSignal } from "../../static/js/live/microphone_signal.js";

const FRAME = 3840;
const SECOND = 13; // frames, a little more than one

function noise(db) {
  const level = 10 ** (db / 20) * Math.sqrt(3);
  return Float32Array.from({ length: FRAME }, (_, i) => level * (2 * (((i * 7919) % 1009) / 1008) - 1));
}

const ZEROS = new Float32Array(FRAME);
const SPEECH = noise(-30);
const CLIPPED = SPEECH.map((sample) => Math.max(-1, Math.min(1, 200 * sample)));

/** What is said while `[frame, seconds]` are heard one after the other. */
function said(...parts) {
  const reported = [];
  const signal = new MicrophoneSignal((problem) => reported.push(problem));
  for (const [frame, seconds] of parts) {
    for (let n = 0; n < seconds * SECOND; n += 1) signal.add(frame);
  }
  return reported;
}

test("an ordinary voice with pauses is never complained about", () => {
  equal(said([SPEECH, 2], [noise(-75), 30], [SPEECH, 1], [noise(-90), 60]), []);
});

test("digital silence is reported within four seconds, and that it is over", () => {
  equal(said([ZEROS, 2]), []);
  equal(said([ZEROS, 4]), ["silent"]);
  equal(said([ZEROS, 30], [SPEECH, 1]), ["silent", null]);
});

test("what is almost inaudible is no digital silence", () => {
  equal(said([noise(-72), 5]), []);
  equal(said([noise(-72), 8]), ["quiet"]);
  equal(said([noise(-72), 8], [SPEECH, 1]), ["quiet", null]);
  equal(said([ZEROS, 4], [noise(-72), 8], [SPEECH, 1]), ["silent", "quiet", null]);
});

test("a click does not make a voice", () => {
  equal(said([noise(-72), 3], [SPEECH, 0.1], [noise(-72), 6]), ["quiet"]);
});

test("a microphone that is switched off in mid-conversation is reported", () => {
  equal(said([SPEECH, 3], [noise(-70), 3], [ZEROS, 5]), []);
  equal(said([SPEECH, 3], [noise(-70), 3], [ZEROS, 8], [SPEECH, 1]), ["silent", null]);
});

test("a device that sends zeros between words is left alone", () => {
  equal(said([SPEECH, 1], [ZEROS, 0.5], [SPEECH, 1], [ZEROS, 60]), []);
});

test("what is cut off at full level is reported, and over some seconds after it is better", () => {
  equal(said([CLIPPED, 0.5], [SPEECH, 5]), []);
  equal(said([CLIPPED, 2]), ["overdriven"]);
  equal(said([CLIPPED, 5], [SPEECH, 3]), ["overdriven"]);
  equal(said([CLIPPED, 5], [SPEECH, 6]), ["overdriven", null]);
});

test("another microphone begins with a clean slate", () => {
  const reported = [];
  const signal = new MicrophoneSignal((problem) => reported.push(problem));
  for (let n = 0; n < 60; n += 1) signal.add(ZEROS);
  signal.reset();
  for (let n = 0; n < 20; n += 1) signal.add(ZEROS);
  equal(reported, ["silent", null]);
});
