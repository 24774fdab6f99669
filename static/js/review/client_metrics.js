// What the browser measured, as rows of a list.

/** @import { ClientMetrics } from "./data.js" */

import { milliseconds } from "../shared/format.js";

/**
 * [label, text] of the metrics that were measured.
 * @param {ClientMetrics} metrics
 */
export function clientRows(metrics) {
  /** @type {[label: string, value: string | number | null][]} */
  const rows = [
    ["Mouth-to-ear latency, median", ms(metrics.latency_p50_ms)],
    ["Mouth-to-ear latency, p95", ms(metrics.latency_p95_ms)],
    ["Jitter buffer, median", ms(metrics.buffer_p50_ms)],
    ["Underruns", metrics.underruns],
    ["Skipped to catch up", ms(metrics.skipped_ms)],
    ["Time-stretched", ms(metrics.stretched_ms)],
    ["Echo correlation, p95", metrics.echo_p95 === null ? null : metrics.echo_p95.toFixed(2)],
  ];
  return rows.filter(([, value]) => value !== null).map(([label, value]) => [label, String(value)]);
}

/** @param {number | null} value */
function ms(value) {
  return value === null ? null : milliseconds(value);
}
