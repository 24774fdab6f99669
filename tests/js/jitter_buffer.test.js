import { JitterBuffer } from "../../static/js/live/jitter_buffer.js";
import { equal, near, ok, test } from "./harness.js";

const RATE = 48000;
const FRAME = 3840;
const QUANTUM = 128;
const ms = (n) => (n * RATE) / 1000;

/** Plays `frames` arriving at arrival(i) ms; a steady 1.0 is the sound. */
function play(frames, arrival, seconds, sound = () => 1) {
  const buffer = new JitterBuffer(RATE, FRAME);
  const out = new Float32Array(seconds * RATE);
  const played = [];
  const depths = [];
  let next = 0;
  for (let now = 0; now < out.length; now += QUANTUM) {
    while (next < frames && ms(arrival(next)) <= now) {
      const samples = Float32Array.from({ length: FRAME }, (_, k) => sound(next * FRAME + k));
      buffer.push(samples, next, now);
      next += 1;
    }
    const block = out.subarray(now, now + QUANTUM);
    played.push(...buffer.pull(block, now));
    depths.push(buffer.depth);
  }
  return { buffer, out, played, depths };
}

function biggestStep(out) {
  let most = 0;
  for (let i = 1; i < out.length; i += 1) most = Math.max(most, Math.abs(out[i] - out[i - 1]));
  return most;
}

test("regular frames play without a gap after 40 ms", () => {
  const { buffer, out, played } = play(50, (i) => 80 * i, 3);
  equal(buffer.underruns, 0);
  equal(buffer.droppedSamples, 0);
  equal(played.length, 37);
  near(played[0].at, ms(40), QUANTUM);
  near(played[30].at, ms(40 + 30 * 80), QUANTUM);
  ok(out.subarray(ms(60)).every((x) => x === 1), "steady sound");
});

test("jitter of 60 ms widens the margin at the first gap, and then no more gaps", () => {
  const late = (i) => (i % 7 === 5 ? 60 : 0);
  const { buffer, played } = play(250, (i) => 80 * i + late(i), 19);
  ok(buffer.underruns <= 1, `${buffer.underruns} underruns`);
  near(buffer.target, ms(80), ms(5));
  const last = played[played.length - 1];
  ok(last.at - ms(80 * last.seq) <= ms(120), "never more than 120 ms late");
});

test("a stall of 400 ms is repaid, not carried along", () => {
  const arrival = (i) => (i >= 20 && i < 25 ? 80 * 25 - 1 : 80 * i);
  const { buffer, played, out } = play(120, arrival, 9);
  equal(buffer.underruns, 1);
  ok(buffer.droppedSamples > ms(200), "the oldest sound was dropped");
  const last = played[played.length - 1];
  ok(last.at - ms(80 * last.seq) <= ms(121), "back within the bound");
  ok(biggestStep(out) < 0.02, `no click: ${biggestStep(out)}`);
});

test("the depth is bounded whatever comes", () => {
  const { depths } = play(400, (i) => 10 * i, 5);
  ok(Math.max(...depths) <= ms(120 + 80) + 1, `${Math.max(...depths)} samples deep`);
});

test("a margin that stays too wide is trimmed within seconds", () => {
  // Late from the start, then regular again: the margin is 120 ms wider than needed.
  const arrival = (i) => (i < 1 ? 110 : 80 * i);
  const { buffer, played } = play(200, arrival, 15);
  equal(buffer.underruns, 0);
  const last = played[played.length - 1];
  ok(last.at - ms(80 * last.seq) < ms(75), `${(last.at - ms(80 * last.seq)) / 48} ms`);
});

test("an underrun fades out and in", () => {
  const arrival = (i) => 80 * i + (i >= 10 ? 500 : 0);
  const { out, buffer } = play(30, arrival, 2.8);
  equal(buffer.underruns, 1);
  ok(biggestStep(out) < 0.02, `no click: ${biggestStep(out)}`);
});

test("a dropped stretch is cross-faded", () => {
  const tone = (n) => Math.sin((2 * Math.PI * 200 * n) / RATE);
  const { out, buffer } = play(200, (i) => (i < 1 ? 110 : 80 * i), 12, tone);
  ok(buffer.droppedSamples > 0, "something was dropped");
  ok(biggestStep(out) < 0.05, `no click: ${biggestStep(out)}`);
});
