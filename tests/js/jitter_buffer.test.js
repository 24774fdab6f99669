import { deepEqual as equal, ok } from "node:assert/strict";
import { test } from "node:test";

import { JitterBuffer } from "../../static/js/live/jitter_buffer.js";
import { near } from "./near.js";

const RATE = 48000;
const FRAME = 3840;
const QUANTUM = 128;
const ms = (n) => (n * RATE) / 1000;
const HZ = 220;
const sine = (n) => 0.5 * Math.sin((2 * Math.PI * HZ * n) / RATE);
const SINE_STEP = (0.5 * 2 * Math.PI * HZ) / RATE; // the biggest step of a clean one

/** Like a voice: pulses through two resonances, with pauses; deterministic. */
function voice(n) {
  const t = n / RATE;
  const open = Math.max(0, Math.min(1, (1.3 - (t % 1.7)) / 0.02, (t % 1.7) / 0.02));
  const pitch = 130 + 25 * Math.sin(3 * t);
  const phase = (130 * t - (25 / 3) * Math.cos(3 * t) + 9) % 1; // the integral of pitch
  const ring = (hz, decay) => Math.exp(-decay * phase) * Math.sin(2 * Math.PI * hz * (phase / pitch));
  return open * (0.2 * ring(650, 5) + 0.12 * ring(1400, 8));
}

/** Plays `frames` arriving at arrival(i) ms (null: never). */
function play(frames, arrival, seconds, sound = sine) {
  const buffer = new JitterBuffer(RATE, FRAME);
  const out = new Float32Array(seconds * RATE);
  const played = [];
  const depths = [];
  const all = Array.from({ length: frames }, (_, i) => i).filter((i) => arrival(i) !== null);
  let next = 0;
  for (let now = 0; now + QUANTUM <= out.length; now += QUANTUM) {
    while (next < all.length && ms(arrival(all[next])) <= now) {
      const from = all[next] * FRAME;
      buffer.push(Float32Array.from({ length: FRAME }, (_, k) => sound(from + k)), all[next], now);
      next += 1;
    }
    played.push(...buffer.pull(out.subarray(now, now + QUANTUM), now));
    depths.push(buffer.depth);
  }
  return { buffer, out, played, depths };
}

function biggestStep(out) {
  let most = 0;
  for (let i = 1; i < out.length; i += 1) most = Math.max(most, Math.abs(out[i] - out[i - 1]));
  return most;
}

/** How late frames were heard, in ms, of those that played from `from` to `to` ms. */
function delays(played, from, to = Infinity) {
  const inside = played.filter(({ at }) => at >= ms(from) && at < ms(to));
  return inside.map(({ seq, at }) => at / ms(1) - 80 * seq);
}

const largest = (values) => Math.max(...values);

/** Part of the energy that is not the sine, in dB, of `seconds` of `out`. */
function impurity(out, from, seconds) {
  const part = out.subarray(from * RATE, (from + seconds) * RATE);
  // The slowly turning phase of splices is no impurity: pieces of 20 ms are judged.
  const piece = ms(20);
  let rest = 0;
  let all = 0;
  for (let start = 0; start + piece <= part.length; start += piece) {
    // 20 ms hold no whole number of periods: least squares for both phases.
    let [ss, sc, cc, sx, cx, xx] = [0, 0, 0, 0, 0, 0];
    for (let i = start; i < start + piece; i += 1) {
      const s = Math.sin((2 * Math.PI * HZ * i) / RATE);
      const c = Math.cos((2 * Math.PI * HZ * i) / RATE);
      ss += s * s;
      sc += s * c;
      cc += c * c;
      sx += s * part[i];
      cx += c * part[i];
      xx += part[i] * part[i];
    }
    const det = ss * cc - sc * sc;
    const a = (sx * cc - cx * sc) / det;
    const b = (cx * ss - sx * sc) / det;
    rest += Math.max(0, xx - a * sx - b * cx);
    all += xx;
  }
  return 10 * Math.log10(rest / all);
}

test("regular frames play untouched after 40 ms", () => {
  const { buffer, out, played } = play(50, (i) => 80 * i, 3);
  equal(buffer.underruns, 0);
  equal([buffer.cutSamples, buffer.compressedSamples, buffer.stretchedSamples], [0, 0, 0]);
  equal(played.length, 37);
  near(played[0].at, ms(40), QUANTUM);
  near(played[30].at, ms(40 + 30 * 80), QUANTUM);
  const from = played[0].at;
  for (let i = ms(60); i < ms(2900); i += 1) near(out[i], sine(i - from), 1e-6);
});

test("jitter of 60 ms widens the margin without a gap", () => {
  const late = (i) => (i % 7 === 5 ? 60 : 0);
  const { buffer, played, out } = play(250, (i) => 80 * i + late(i), 19, voice);
  equal(buffer.underruns, 0);
  ok(buffer.stretchedSamples > ms(30), "it was stretched");
  near(buffer.target, ms(80), ms(5));
  ok(largest(delays(played, 0)) <= 120, "never more than 120 ms late");
  ok(biggestStep(out) < 0.1, `no click: ${biggestStep(out)}`);
});

test("when the jitter is over the delay comes back", () => {
  const late = (i) => (i < 60 && i % 7 === 5 ? 60 : 0);
  const { buffer, played } = play(190, (i) => 80 * i + late(i), 15, voice);
  equal(buffer.underruns, 0);
  ok(largest(delays(played, 12_000)) <= 62, `${largest(delays(played, 12_000))} ms`);
});

test("a stall of 400 ms loses nothing: it is repaid by time scale", () => {
  const arrival = (i) => (i >= 20 && i < 25 ? 80 * 25 - 1 : 80 * i);
  const { buffer, played, out } = play(120, arrival, 9, voice);
  equal(buffer.underruns, 1);
  equal(buffer.cutSamples, 0);
  ok(buffer.compressedSamples > ms(250), `${buffer.compressedSamples / 48} ms`);
  ok(largest(delays(played, 5000)) <= 61, `${largest(delays(played, 5000))} ms`);
  ok(biggestStep(out) < 0.1, `no click: ${biggestStep(out)}`);
});

test("a stall of 2 s is repaid in 5 s, and the loss is counted", () => {
  const arrival = (i) => (i >= 50 && i < 75 ? 80 * 75 - 1 : 80 * i);
  for (const sound of [sine, voice]) {
    const { buffer, played, out } = play(200, arrival, 15, sound);
    const before = largest(delays(played, 1000, 4000));
    const after = largest(delays(played, 11_000));
    ok(after <= before + 40, `${before} ms before, ${after} ms after`);
    ok(buffer.cutSamples > ms(1000), `${buffer.cutSamples / 48} ms`);
    const heard = played.map(({ seq }) => seq);
    equal(heard, [...heard].sort((a, b) => a - b));
    const clean = sound === sine ? SINE_STEP : 0.1;
    ok(biggestStep(out) < 1.3 * clean, `no click: ${biggestStep(out)}`);
  }
});

test("a new route with more delay is the new normal, not a stall for ever", () => {
  const arrival = (i) => 80 * i + (i >= 40 ? 700 : 0);
  const { buffer, played } = play(180, arrival, 14, voice);
  equal(buffer.underruns, 1);
  ok(largest(delays(played, 9000)) <= 700 + 62, `${largest(delays(played, 9000))} ms`);
  near(buffer.target, ms(40), 1);
});

test("the depth is bounded whatever comes", () => {
  const { depths } = play(400, (i) => 10 * i, 5);
  ok(largest(depths) <= ms(120 + 480 + 80 + 25), `${largest(depths) / 48} ms deep`);
});

test("a margin that stays too wide is trimmed within seconds", () => {
  // Late from the start, then regular again: the margin is 110 ms wider than needed.
  const { buffer, played } = play(200, (i) => (i < 1 ? 110 : 80 * i), 15, voice);
  equal(buffer.underruns, 0);
  equal(buffer.cutSamples, 0);
  ok(largest(delays(played, 4000)) <= 62, `${largest(delays(played, 4000))} ms`);
});

test("a wait of 50 ms more than the margin is no gap", () => {
  const arrival = (i) => 80 * i + (i === 20 ? 90 : 0);
  const { out, buffer } = play(60, arrival, 4);
  equal(buffer.underruns, 0);
  ok(biggestStep(out) < 1.3 * SINE_STEP, `no click: ${biggestStep(out)}`);
  const piece = ms(5); // longer than a period
  for (let i = ms(60); i + piece < ms(3900); i += piece) {
    ok(largest(out.subarray(i, i + piece)) > 0.1, `silent at ${i / 48} ms`);
  }
});

test("an underrun fades out and in", () => {
  const arrival = (i) => 80 * i + (i >= 10 ? 500 : 0);
  for (const sound of [sine, () => 0.8, voice]) {
    const { out, buffer } = play(30, arrival, 2.8, sound);
    equal(buffer.underruns, 1);
    ok(biggestStep(out) < 0.1, `no click: ${biggestStep(out)}`);
    equal(out[ms(1100)], 0);
  }
});

test("frames that never come are bridged without a click", () => {
  const { out, buffer } = play(200, (i) => (i % 10 === 9 ? null : 80 * i), 16);
  ok(buffer.underruns <= 20, `${buffer.underruns} underruns`);
  ok(biggestStep(out) < 2 * SINE_STEP, `no click: ${biggestStep(out)}`);
});

test("a sine that is stretched or compressed stays a sine", () => {
  const shorter = play(200, (i) => (i < 1 ? 110 : 80 * i), 12);
  ok(shorter.buffer.compressedSamples > ms(50), "compressed");
  ok(impurity(shorter.out, 0.5, 6) < -40, `${impurity(shorter.out, 0.5, 6)} dB`);
  const late = (i) => (i % 7 === 5 ? 55 : 0);
  const longer = play(200, (i) => 80 * i + late(i), 14);
  ok(longer.buffer.stretchedSamples > ms(20), "stretched");
  equal(longer.buffer.underruns, 0);
  ok(impurity(longer.out, 0.5, 12) < -25, `${impurity(longer.out, 0.5, 12)} dB`);
  ok(biggestStep(longer.out) < 1.3 * SINE_STEP, `no click: ${biggestStep(longer.out)}`);
});

test("the level of noise stays", () => {
  let state = 1;
  const noise = () => {
    state = (state * 1103515245 + 12345) % 2147483648;
    return 0.2 * (state / 1073741824 - 1);
  };
  const { out } = play(120, (i) => (i < 1 ? 110 : 80 * i), 8, noise);
  const rms = (from, to) => Math.sqrt(out.subarray(ms(from), ms(to)).reduce((s, x) => s + x * x, 0) / ms(to - from));
  near(rms(300, 2000), rms(5000, 7000), 0.02);
});

test("a reset forgets what waits, without a click, and starts as new", () => {
  const buffer = new JitterBuffer(RATE, FRAME);
  const out = new Float32Array(ms(1000));
  let pushed = 0;
  for (let now = 0; now + QUANTUM <= out.length; now += QUANTUM) {
    if (now >= ms(80 * pushed) && pushed < 12) {
      buffer.push(Float32Array.from({ length: FRAME }, (_, k) => sine(pushed * FRAME + k)), pushed, now);
      pushed += 1;
      if (pushed === 5) buffer.reset();
      if (pushed === 5) equal(buffer.depth, 0);
    }
    buffer.pull(out.subarray(now, now + QUANTUM), now);
  }
  equal(buffer.underruns, 0);
  equal(out[ms(320 + 70)], 0);
  ok(largest(out.subarray(ms(600), ms(700))) > 0.4, "plays again");
  ok(biggestStep(out) < 1.3 * SINE_STEP, `no click: ${biggestStep(out)}`);
});

test("a lump of old frames after a reset neither stays as delay nor as jitter", () => {
  // Seconds after a reconnect: 12 frames of before at once, then one each 80 ms.
  const { buffer, played } = play(100, (i) => Math.max(80 * 12, 80 * i), 9, voice);
  near(buffer.target, ms(40), 1);
  ok(buffer.cutSamples > ms(300), `${buffer.cutSamples / 48} ms`);
  ok(largest(delays(played, 5000)) <= 62, `${largest(delays(played, 5000))} ms`);
});
