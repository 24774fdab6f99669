// What the page reports to the site once a second about its own end of the conversation:
// the `stats` event of docs/protocol.md. Counts run from the start.

/**
 * @import { Latency } from "./latency.js"
 * @import { PageStats } from "./protocol.js"
 * @import { Playback } from "./speaker.js"
 * @import { Flow } from "./uplink.js"
 */

/**
 * @typedef {object} Measured
 * @property {Pick<Flow, "dropped" | "late">} flow
 * @property {Pick<Playback, "jitterMs" | "underruns" | "skippedMs" | "stretchedMs">} playback
 * @property {{ correlation: number }} echo
 * @property {boolean} muted
 * @property {() => Latency | null} latencyNow
 */

const tenth = (/** @type {number} */ value) => Math.round(10 * value) / 10;

/**
 * @param {Measured} conversation
 * @param {boolean} hidden
 * @returns {PageStats}
 */
export function pageStats(conversation, hidden) {
  const { flow, playback, echo, muted } = conversation;
  const latency = conversation.latencyNow();
  const stats = {
    jitter_ms: tenth(playback.jitterMs),
    underruns: playback.underruns,
    skipped_ms: tenth(playback.skippedMs),
    stretched_ms: tenth(playback.stretchedMs),
    dropped: flow.dropped,
    late: flow.late,
    echo: Math.round(100 * echo.correlation) / 100,
    muted,
    hidden,
  };
  if (!latency) return stats;
  return { latency_ms: tenth(latency.totalMs), buffer_ms: tenth(latency.bufferMs), ...stats };
}
