// What the site sends to the review page (docs/review-data.md), and how it is fetched.

/** @typedef {{ start_s: number, end_s: number, text: string }} Word */
/** @typedef {{ start_s: number, end_s: number, text: string, words: Word[] }} Segment */
/** @typedef {{ at_s: number, kind: string, text: string, pause_s: number | null }} LogEvent */
/** @typedef {{ t: number[], p50_ms: number[], max_ms: number[] }} LatencySeries */

/**
 * @typedef {object} Latency
 * @property {number | null} p50_ms
 * @property {number | null} p95_ms
 * @property {number | null} p99_ms
 * @property {number | null} max_ms
 * @property {Record<string, number | null>} stages medians
 * @property {LatencySeries} series
 */

/**
 * What the browser measured; null where it did not.
 * @typedef {object} ClientMetrics
 * @property {number | null} latency_p50_ms
 * @property {number | null} latency_p95_ms
 * @property {number | null} buffer_p50_ms
 * @property {number | null} echo_p95
 * @property {number | null} underruns
 * @property {number | null} skipped_ms
 * @property {number | null} stretched_ms
 */

/**
 * @typedef {object} ConversationData
 * @property {number} duration_s
 * @property {Segment[]} transcript
 * @property {Latency | null} latency
 * @property {LogEvent[]} events
 * @property {ClientMetrics | null} client_metrics
 */

/** An answer of the site that says why it has no data. */
export class Refused extends Error {}

/**
 * Rejects with Refused where the site says why, else as fetch does.
 * @param {string} address
 * @returns {Promise<ConversationData>}
 */
export async function fetchConversation(address) {
  const response = await fetch(address, { headers: { Accept: "application/json" } });
  const answer = await response.json();
  if (!response.ok && typeof answer.text === "string") throw new Refused(answer.text);
  if (!response.ok) throw new Error(`${response.status}`);
  return answer;
}
