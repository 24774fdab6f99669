import { deepEqual as equal } from "node:assert/strict";
import { test } from "node:test";

import { clock, clockTenths, count, initial, milliseconds, tenthsAbove, tenthsBelow, wait } from "../../static/js/shared/format.js";
import { RollingWindow, percentile } from "../../static/js/shared/stats.js";

test("clocks", () => {
  equal([0, 9, 75.9, 3675, -3].map(clock), ["0:00", "0:09", "1:15", "1:01:15", "0:00"]);
  equal([0, 75.25, 59.99, 0.3].map(clockTenths), ["0:00.0", "1:15.2", "0:59.9", "0:00.3"]);
});

test("milliseconds carry no false precision", () => {
  equal([4.23, 87.4, 1234, null, NaN].map(milliseconds), ["4.2 ms", "87 ms", "1.2 s", "–", "–"]);
});

test("what is beyond a limit never looks as if it kept to it", () => {
  equal([2.96, 2.7, 1.2, 0.04].map(tenthsBelow), ["2.9", "2.7", "1.2", "0.0"]);
  equal([60.26, 60.04, 120, 60.3].map(tenthsAbove), ["60.3", "60.1", "120.0", "60.3"]);
});

test("waits and counts are said in words", () => {
  equal([2, 40, 150].map(wait), ["a few seconds", "40 seconds", "about 3 minutes"]);
  equal([count(1, "frame"), count(2, "frame")], ["1 frame", "2 frames"]);
});

test("percentiles are nearest-rank", () => {
  const values = Array.from({ length: 100 }, (_, i) => 100 - i);
  equal([50, 95, 99, 100].map((p) => percentile(values, p)), [50, 95, 99, 100]);
  equal(percentile([], 50), null);
  equal(percentile([7], 1), 7);
});

test("a window keeps the newest values", () => {
  const window = new RollingWindow(3);
  for (const value of [9, 1, 2, 3]) window.add(value);
  equal(window.values, [1, 2, 3]);
  equal(window.percentile(50), 2);
});

test("an initial is a whole character, however many code points it has", () => {
  const names = ["ada", "😀 Bob", "e\u0301mile", "👩‍🚀 Eve", "🇫🇷 Luc", "ß", "", "食べ物"];
  equal(names.map(initial), ["A", "😀", "E\u0301", "👩‍🚀", "🇫🇷", "SS", "", "食"]);
});
