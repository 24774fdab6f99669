// The agent's decoded frames to the loudspeaker, through the playback worklet.

/** Whether this browser lets a page choose the loudspeaker of an audio context. */
export function canChooseLoudspeaker() {
  return "AudioContext" in globalThis && "setSinkId" in AudioContext.prototype;
}

/**
 * What the playback worklet reports. Counts run from the start.
 * @typedef {object} Playback
 * @property {number} depthMs
 * @property {number} targetMs
 * @property {number} jitterMs
 * @property {number} underruns
 * @property {number} stretchedMs
 * @property {number} skippedMs left out by time scale, or cut
 * @property {number} cutMs
 */

/** @type {Playback} */
export const NO_PLAYBACK = {
  depthMs: 0,
  targetMs: 0,
  jitterMs: 0,
  underruns: 0,
  stretchedMs: 0,
  skippedMs: 0,
  cutMs: 0,
};

/**
 * @typedef {object} PlaybackReport
 * @property {Playback} playback
 * @property {{ seq: number, at: number }[]} played frames, and when they began to play
 * @property {{ bin: number, power: number }[]} loudness of each 10 ms
 */

export class Speaker {
  /**
   * @param {AudioContext} context must have the playback worklet
   * @param {(report: PlaybackReport) => void} onReport
   */
  constructor(context, onReport) {
    this.context = context;
    this.node = new AudioWorkletNode(context, "playback", {
      numberOfInputs: 0,
      outputChannelCount: [1],
    });
    this.node.port.onmessage = ({ data }) => onReport(data);
    this.meter = context.createAnalyser();
    this.meter.fftSize = 2048; // all that sounds between two readings
    this.node.connect(this.meter);
    this.meter.connect(context.destination);
  }

  /**
   * @param {Float32Array<ArrayBuffer>} samples
   * @param {number} seq
   */
  play(samples, seq) {
    this.node.port.postMessage({ samples, seq }, [samples.buffer]);
  }

  /** Forgets what is not yet heard. */
  reset() {
    this.node.port.postMessage({ reset: true });
  }

  get delayMs() {
    const { baseLatency = 0, outputLatency = 0 } = this.context;
    return 1000 * (baseLatency + outputLatency);
  }

  close() {
    this.node.port.onmessage = null;
    this.node.disconnect();
    this.meter.disconnect();
  }
}
