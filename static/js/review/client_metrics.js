// What the browser measured of itself, in words.

import { milliseconds } from "../shared/format.js";

/** [label, text] of what there is. */
export function clientRows(metrics) {
  const rows = [
    ["Mouth to ear, median", ms(metrics.latency_p50_ms)],
    ["Mouth to ear, 95 of 100", ms(metrics.latency_p95_ms)],
    ["In the jitter buffer", ms(metrics.buffer_p50_ms)],
    ["Gaps in the sound", metrics.underruns],
    ["Skipped to catch up", ms(metrics.skipped_ms)],
    ["Stretched or squeezed", ms(metrics.stretched_ms)],
    ["Echo of the loudspeaker", metrics.echo_p95 === null ? null : metrics.echo_p95.toFixed(2)],
  ];
  return rows.filter(([, value]) => value !== null).map(([label, value]) => [label, String(value)]);
}

function ms(value) {
  return value === null ? null : milliseconds(value);
}
