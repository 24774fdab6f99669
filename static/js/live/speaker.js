// The agent's frames to the loudspeaker. Knows no sockets.

/** Whether this browser lets a page choose the loudspeaker of an audio context. */
export function canChooseLoudspeaker(scope = globalThis) {
  return typeof scope.AudioContext?.prototype.setSinkId === "function";
}

export class Speaker {
  /** The context must have the playback worklet. */
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
