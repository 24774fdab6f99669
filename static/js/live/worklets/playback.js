// Plays agent frames through the jitter buffer, in the audio thread.
// Takes { samples, seq } and { reset: true }; posts which frames began to play, and every
// 100 ms its state and how loud it was.

import { Envelope } from "../envelope.js";
import { JitterBuffer } from "../jitter_buffer.js";
import { CONTEXT_SAMPLES } from "../protocol.js";

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this.buffer = new JitterBuffer(sampleRate, CONTEXT_SAMPLES);
    this.loudness = [];
    this.envelope = new Envelope(sampleRate, (bin, power) => this.loudness.push({ bin, power }));
    this.nextReport = 0;
    this.port.onmessage = ({ data }) => {
      if (data.reset) this.buffer.reset();
      else this.buffer.push(data.samples, data.seq, currentFrame);
    };
  }

  process(_inputs, [output]) {
    const played = this.buffer.pull(output[0], currentFrame);
    this.envelope.add(output[0], currentFrame);
    for (let c = 1; c < output.length; c += 1) output[c].set(output[0]);
    if (played.length || currentFrame >= this.nextReport) this.report(played);
    return true;
  }

  report(played) {
    this.nextReport = currentFrame + sampleRate / 10;
    const { depth, target, jitter, underruns } = this.buffer;
    const { stretchedSamples, compressedSamples, cutSamples } = this.buffer;
    const ms = (samples) => (1000 * samples) / sampleRate;
    this.port.postMessage({
      played,
      loudness: this.loudness,
      depthMs: ms(depth),
      targetMs: ms(target),
      jitterMs: ms(jitter),
      underruns,
      stretchedMs: ms(stretchedSamples),
      skippedMs: ms(compressedSamples + cutSamples),
      cutMs: ms(cutSamples),
    });
    this.loudness = [];
  }
}

registerProcessor("playback", Playback);
