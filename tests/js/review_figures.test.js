import {
  axisTicks,
  columnLevels,
  timeTicks,
  wordAt,
} from "../../static/js/review/figures.js";
import { equal, ok, test } from "./harness.js";

test("a column shows its loudest level, however many there are", () => {
  equal([...columnLevels([0, 9, 1, 2, 0, 0], 3)], [9, 2, 0]);
  equal([...columnLevels([5, 7], 4)], [5, 5, 7, 7]);
  equal([...columnLevels([], 2)], [0, 0]);
  const levels = Array.from({ length: 3000 }, (_, i) => (i === 1777 ? 100 : 0));
  equal(Math.max(...columnLevels(levels, 301)), 100);
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

test("axes have round values and reach the top", () => {
  equal(axisTicks(100), [0, 50, 100]);
  equal(axisTicks(180), [0, 50, 100, 150, 200]);
  equal(axisTicks(1234), [0, 500, 1000, 1500]);
});

test("time axes have few ticks at any length", () => {
  equal(timeTicks(60, 6), [0, 10, 20, 30, 40, 50, 60]);
  for (const duration of [0.08, 3, 59, 600, 7000, 40000]) {
    ok(timeTicks(duration, 8).length <= 9, `${duration} s`);
  }
});
