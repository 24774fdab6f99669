import { deepEqual as equal, ok } from "node:assert/strict";
import { test } from "node:test";

import {
  DELAY,
  Doubler,
  FILTER,
  Halver,
  fromInt16,
  toInt16,
} from "../../static/js/live/resample.js";
import { near } from "./near.js";

const FRAME = 3840;
const tone = (hz, rate, n) => Float32Array.from({ length: n }, (_, i) => Math.sin((2 * Math.PI * hz * i) / rate));

function level(samples) {
  return Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length);
}

function inFrames(resampler, samples, size) {
  const out = [];
  for (let i = 0; i < samples.length; i += size) out.push(...resampler.process(samples.subarray(i, i + size)));
  return Float32Array.from(out);
}

test("it is a half-band filter: symmetric, every second tap is 0, sum 1", () => {
  equal(FILTER.length, 63);
  near(FILTER.reduce((a, b) => a + b), 1, 1e-5);
  near(FILTER[DELAY], 0.5, 1e-3);
  for (let i = 1; i <= DELAY; i += 1) {
    near(FILTER[DELAY - i], FILTER[DELAY + i], 1e-7);
    if (i % 2 === 0) equal(FILTER[DELAY + i], 0);
  }
});

test("speech frequencies keep their level, both ways", () => {
  for (const hz of [100, 1000, 5000, 9500]) {
    const down = new Halver().process(tone(hz, 48000, 4 * FRAME)).subarray(200);
    near(20 * Math.log10(level(down) / Math.SQRT1_2), 0, 0.1);
    const up = new Doubler().process(tone(hz, 24000, 2 * FRAME)).subarray(200);
    near(20 * Math.log10(level(up) / Math.SQRT1_2), 0, 0.1);
  }
});

test("what 24 kHz can't hold is removed instead of folded back", () => {
  for (const hz of [14500, 18000, 22000]) {
    const down = new Halver().process(tone(hz, 48000, 4 * FRAME)).subarray(200);
    ok(20 * Math.log10(level(down)) < -60, `${hz} Hz leaves ${20 * Math.log10(level(down))} dB`);
  }
});

test("up-sampling leaves no image above 12 kHz", () => {
  const up = new Doubler().process(tone(3000, 24000, 2 * FRAME)).subarray(200);
  let re = 0;
  let im = 0;
  up.forEach((x, i) => {
    re += x * Math.cos((2 * Math.PI * 21000 * i) / 48000);
    im += x * Math.sin((2 * Math.PI * 21000 * i) / 48000);
  });
  ok((2 * Math.hypot(re, im)) / up.length < 1e-3, "image at 21 kHz");
});

test("frame by frame equals in one piece", () => {
  const samples = tone(440, 48000, 5 * FRAME);
  equal([...inFrames(new Halver(), samples, FRAME)], [...new Halver().process(samples)]);
  equal([...inFrames(new Doubler(), samples, 1920)], [...new Doubler().process(samples)]);
});

test("there and back is the same sound, two filter delays later", () => {
  const samples = tone(1000, 48000, 4 * FRAME);
  const back = new Doubler().process(new Halver().process(samples));
  for (let i = 1000; i < 2000; i += 1) near(back[i + 2 * DELAY - 1], samples[i], 2e-3);
});

test("int16 clips instead of wrapping, and survives an odd byte offset", () => {
  equal([...toInt16(Float32Array.of(0, 1, -1, 2, -2))], [0, 32767, -32767, 32767, -32767]);
  const bytes = new Uint8Array(5);
  new DataView(bytes.buffer).setInt16(1, -16384, true);
  equal([...fromInt16(bytes.subarray(1))], [-0.5, 0]);
});
