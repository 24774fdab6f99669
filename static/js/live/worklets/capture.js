// Collects the microphone into frames of 80 ms, in the audio thread.
// Posts { samples, end }: `end` is the time after the last of them, in samples.

import { CONTEXT_SAMPLES } from "../protocol.js";

class CaptureProcessor extends AudioWorkletProcessor {
  frame = new Float32Array(CONTEXT_SAMPLES);
  filled = 0;

  /** @param {Float32Array[][]} inputs */
  process([input]) {
    const quantum = input[0];
    if (!quantum) return true; // the microphone is not connected yet
    let taken = 0;
    while (taken < quantum.length) {
      const n = Math.min(quantum.length - taken, CONTEXT_SAMPLES - this.filled);
      this.frame.set(quantum.subarray(taken, taken + n), this.filled);
      this.filled += n;
      taken += n;
      if (this.filled === CONTEXT_SAMPLES) this.send(currentFrame + taken);
    }
    return true;
  }

  /** @param {number} end */
  send(end) {
    const samples = this.frame;
    this.frame = new Float32Array(CONTEXT_SAMPLES);
    this.filled = 0;
    this.port.postMessage({ samples, end }, [samples.buffer]);
  }
}

registerProcessor("capture", CaptureProcessor);
