import { ok } from "node:assert/strict";

/** Fails unless `actual` is within `tolerance` of `expected`. */
export function near(actual, expected, tolerance) {
  ok(Math.abs(actual - expected) <= tolerance, `expected ${expected} ± ${tolerance}, got ${actual}`);
}
