import { deepEqual as equal, ok } from "node:assert/strict";
import { test } from "node:test";

import { peaks, timeStep, wordAt } from "../../static/js/review/figures.js";
import { chartData } from "../../static/js/review/latency_chart.js";

test("peaks are levels from 0 to 1, and a side of hours has not many more", () => {
  const levels = Array.from({ length: 3000 }, (_, i) => (i === 1777 ? 100 : 0));
  const made = peaks(levels, 3000 / 14400, 14400);
  equal([made.length, made.findIndex((peak) => peak === 1)], [6000, 2 * 1777]);
  equal(Math.max(...peaks([250], 1, 1)), 1);
});

test("peaks cover the duration, however many levels there are", () => {
  const short = peaks([50, 50], 25, 0.16); // four levels, two of them missing
  equal([short[0], short[short.length / 2 - 1], short[short.length / 2]], [0.5, 0.5, 0]);
  equal(peaks(Array(5000).fill(1), 25, 160).length, 8000);
  ok(peaks([], 0, 0.08).every((peak) => peak === 0), "silence without levels");
});

const words = [
  { start_s: 1, end_s: 1.5 },
  { start_s: 1.5, end_s: 2 },
  { start_s: 4, end_s: 4.2 },
];

test("the current word is the one being said, none in a pause", () => {
  equal([0, 1, 1.49, 1.5, 2.1, 3, 4, 9].map((t) => wordAt(words, t)), [-1, 0, 0, 1, 1, -1, 2, -1]);
  equal(wordAt([], 1), -1);
});

test("the steps of a time axis are round and wide enough", () => {
  equal([0, 1, 1.1, 7, 61, 9999].map(timeStep), [1, 1, 2, 10, 120, 7200]);
});

test("the limit of the latency chart reaches to the end", () => {
  const series = { t: [0, 4], p50_ms: [30, 31], max_ms: [44, 90] };
  equal(chartData(series, 8), [[0, 4, 8], [44, 90, null], [30, 31, null], [80, 80, 80]]);
  equal(chartData({ t: [], p50_ms: [], max_ms: [] }, 1), [[1], [null], [null], [80]]);
});
