// Plays agent frames through the jitter buffer, in the audio thread.
// Takes { samples, seq } and { reset: true }; posts which frames began to play, and every
// 100 ms its state and how loud it was.

/** @import { Mark } from "../jitter_buffer.js" */
/** @import { PlaybackReport } from "../speaker.js" */

import { Envelope } from "../envelope.js";
import { JitterBuffer } from "../jitter_buffer.js";
import { CONTEXT_SAMPLES } from "../protocol.js";

class PlaybackProcessor extends AudioWorkletProcessor {
  /** @type {PlaybackReport["loudness"]} */
  loudness = []; // since the last report
  nextReport = 0;

  constructor() {
    super();
    this.buffer = new JitterBuffer(sampleRate, CONTEXT_SAMPLES);
    this.envelope = new Envelope(sampleRate, (bin, power) => this.loudness.push({ bin, power }));
    this.port.onmessage = ({ data }) => {
      if (data.reset) this.buffer.reset();
      else this.buffer.push(data.samples, data.seq, currentFrame);
    };
  }

  /**
   * @param {Float32Array[][]} _inputs
   * @param {Float32Array[][]} outputs
   */
  process(_inputs, [output]) {
    const played = this.buffer.pull(output[0], currentFrame);
    this.envelope.add(output[0], currentFrame);
    for (let c = 1; c < output.length; c += 1) output[c].set(output[0]);
    if (played.length || currentFrame >= this.nextReport) this.report(played);
    return true;
  }

  /** @param {Mark[]} played */
  report(played) {
    this.nextReport = currentFrame + sampleRate / 10;
    const { depth, target, jitter, underruns } = this.buffer;
    const { stretchedSamples, compressedSamples, cutSamples } = this.buffer;
    const ms = (/** @type {number} */ samples) => (1000 * samples) / sampleRate;
    const playback = {
      depthMs: ms(depth),
      targetMs: ms(target),
      jitterMs: ms(jitter),
      underruns,
      stretchedMs: ms(stretchedSamples),
      skippedMs: ms(compressedSamples + cutSamples),
      cutMs: ms(cutSamples),
    };
    /** @type {PlaybackReport} */
    const report = { playback, played, loudness: this.loudness };
    this.port.postMessage(report);
    this.loudness = [];
  }
}

registerProcessor("playback", PlaybackProcessor);
