import { deepEqual as equal, ok } from "node:assert/strict";
import { test } from "node:test";

import { EchoMeter } from "../../static/js/live/echo.js";
import { Envelope } from "../../static/js/live/envelope.js";
import { near } from "./near.js";

/** Levels of a person who talks: syllables and pauses, a fixed seed. */
function talker(seed, from = 0, to = Infinity) {
  let state = seed;
  const random = () => (state = (state * 1103515245 + 12345) % 2147483648) / 2147483648;
  const syllables = Array.from({ length: 2000 }, () => [5 + 20 * random(), random() ** 2]);
  const powers = [];
  for (const [length, level] of syllables) {
    for (let i = 0; i < length && powers.length < 3000; i += 1) {
      const inside = powers.length >= from && powers.length < to;
      powers.push(inside ? 0.02 * level * Math.sin((Math.PI * (i + 1)) / (length + 1)) ** 2 + 1e-7 : 1e-7);
    }
  }
  return powers;
}

/** Seconds in which the meter spoke of an echo. */
function run(played, heard) {
  const meter = new EchoMeter();
  const reported = [];
  for (let n = 0; n < 2000; n += 1) {
    meter.addPlayed(n, played[n]);
    meter.addCaptured(n, heard[n]);
    if (n % 100 === 99 && meter.measure()) reported.push((n + 1) / 100);
  }
  return { reported, meter };
}

test("an echo is found with its noise, whatever its delay", () => {
  const agent = talker(1);
  for (const delay of [3, 14, 32]) {
    const heard = agent.map((_, n) => 0.05 * (agent[n - delay] ?? 0) + 3e-7);
    const { reported, meter } = run(agent, heard);
    ok(reported.length > 10 && reported[0] <= 8, `reported at ${reported}`);
    ok(meter.correlation > 0.7, `${meter.correlation}`);
  }
});

test("two people who talk at once are no echo", () => {
  for (const seed of [2, 3, 4, 5]) equal(run(talker(1), talker(seed)).reported, []);
});

test("people who take turns are no echo", () => {
  const agent = talker(1).map((power, n) => (n % 600 < 300 ? power : 1e-7));
  const user = talker(2).map((power, n) => (n % 600 < 300 ? 1e-7 : power));
  equal(run(agent, user).reported, []);
});

test("an agent that repeats what it hears is no echo", () => {
  const user = talker(1);
  const agent = user.map((_, n) => user[n - 15] ?? 1e-7);
  equal(run(agent, user).reported, []);
});

test("an echo too soft for the model is not reported", () => {
  const agent = talker(1);
  equal(run(agent, agent.map((_, n) => 1e-4 * (agent[n - 10] ?? 0) + 1e-7)).reported, []);
});

test("an envelope is the power of each 10 ms of the clock, however it comes in", () => {
  for (const lump of [128, 3840, 480]) {
    const bins = [];
    const envelope = new Envelope(48000, (bin, power) => bins.push([bin, power]));
    for (let n = 0; n + lump <= 7680; n += lump) {
      envelope.add(Float32Array.from({ length: lump }, (_, i) => (n + i < 480 ? 0.5 : 0.1)), n);
    }
    equal(bins.map(([bin]) => bin), Array.from({ length: 16 }, (_, i) => i));
    near(bins[0][1], 0.25, 1e-6);
    near(bins[5][1], 0.01, 1e-6);
  }
});
