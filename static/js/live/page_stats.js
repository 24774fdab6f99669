// What the page tells the site once a second about its own end of the conversation:
// the `stats` event of docs/protocol.md. Counts run from the start.

const tenth = (value) => Math.round(10 * value) / 10;

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
