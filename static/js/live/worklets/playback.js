// Plays agent frames through the jitter buffer, in the audio thread.
// Takes { samples, seq }; posts which frames began to play, and every 100 ms its state.

import { JitterBuffer } from "../jitter_buffer.js";

const FRAME = 3840;

class Playback extends AudioWorkletProcessor {
  constructor() {
    super();
    this.buffer = new JitterBuffer(sampleRate, FRAME);
    this.nextReport = 0;
    this.port.onmessage = ({ data }) => {
      this.buffer.push(data.samples, data.seq, currentFrame);
    };
  }

  process(_inputs, [output]) {
    const played = this.buffer.pull(output[0], currentFrame);
    for (let c = 1; c < output.length; c += 1) output[c].set(output[0]);
    if (played.length || currentFrame >= this.nextReport) this.report(played);
    return true;
  }

  report(played) {
    this.nextReport = currentFrame + sampleRate / 10;
    const { depth, target, underruns, droppedSamples } = this.buffer;
    this.port.postMessage({
      played,
      depthMs: (1000 * depth) / sampleRate,
      targetMs: (1000 * target) / sampleRate,
      underruns,
      droppedMs: (1000 * droppedSamples) / sampleRate,
    });
  }
}

registerProcessor("playback", Playback);
