// Shows the figures of a live conversation on its page.

/**
 * @import { LiveConversation } from "./conversation.js"
 * @import { ReadyEvent } from "./protocol.js"
 */

import { byId, setText } from "../shared/dom.js";
import { clock, milliseconds } from "../shared/format.js";
import { memoryLabel, memoryLeft } from "./phases.js";
import { describeSampling } from "./sampling.js";

/**
 * @typedef {object} Facts
 * @property {number} elapsed seconds of the conversation
 * @property {number} context seconds of the model's memory that were left ...
 * @property {number} sinceReady ... so many seconds ago
 * @property {ReadyEvent} ready
 * @property {LiveConversation} conversation
 */

/** @param {Facts} facts */
export function showFacts({ elapsed, sinceReady, context, ready, conversation }) {
  const { flow, playback, echo, link } = conversation;
  setText(byId("elapsed"), clock(elapsed));
  setText(byId("memory"), memoryLeft(context, sinceReady, ready.when_full));
  setText(byId("memory-label"), memoryLabel(context, sinceReady, ready.when_full));
  setText(byId("late"), String(flow.late));
  setText(byId("dropped"), String(flow.dropped));
  setText(byId("underruns"), String(playback.underruns));
  setText(byId("skipped"), milliseconds(playback.skippedMs));
  setText(byId("stretched"), milliseconds(playback.stretchedMs));
  setText(byId("echo"), echo.correlation ? `${Math.round(100 * echo.correlation)} %` : "–");
  setText(byId("resumes"), String(link.resumes));
  setText(byId("applied"), describeSampling(ready.sampling, ready.seed));
  const latency = conversation.latencyNow();
  if (!latency) return;
  setText(byId("latency"), milliseconds(latency.totalMs));
  setText(byId("latency-trip"), milliseconds(Math.max(0, latency.tripMs - latency.pathMs)));
  setText(byId("latency-path"), milliseconds(latency.pathMs));
  setText(byId("latency-buffer"), milliseconds(latency.bufferMs));
  setText(byId("latency-device"), milliseconds(latency.deviceMs));
}
