// What the model gets from the user, in frames of 80 ms at 48 kHz: the microphone, a
// sample in its place, or silence. The model needs a frame every 80 ms, so silence is a
// source of its own and frames come whatever is plugged in.

/** @import { Microphone } from "./microphone.js" */

const MONITOR_GAIN = 0.35; // a sample is heard in the room too, quietly

export class UserInput {
  /** @type {Microphone | null} */
  microphone = null;
  /** @type {{ source: AudioBufferSourceNode, monitor: GainNode, onEnd: () => void } | null} */
  sample = null; // that plays

  /**
   * @param {AudioContext} context must have the capture worklet
   * @param {(samples: Float32Array<ArrayBuffer>, end: number) => void} onFrame
   */
  constructor(context, onFrame) {
    this.context = context;
    this.capture = new AudioWorkletNode(context, "capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    this.capture.port.onmessage = ({ data }) => onFrame(data.samples, data.end);
    this.meter = context.createAnalyser();
    this.meter.fftSize = 2048; // all that sounds between two readings
    this.silence = new ConstantSourceNode(context, { offset: 0 });
    this.door = context.createGain(); // closed while a sample plays
    for (const source of [this.silence, this.door]) {
      source.connect(this.capture);
      source.connect(this.meter);
    }
    this.silence.start();
  }

  get samplePlaying() {
    return Boolean(this.sample);
  }

  /**
   * Takes a microphone, or null for none, in place of the old one, which is closed.
   * @param {Microphone | null} microphone
   */
  set(microphone) {
    this.microphone?.close();
    this.microphone = microphone;
    microphone?.node.connect(this.door);
  }

  /**
   * Plays a sample in place of the microphone; another one that plays is stopped.
   * @param {AudioBuffer} buffer
   * @param {() => void} onEnd
   */
  play(buffer, onEnd) {
    this.stopSample();
    const monitor = new GainNode(this.context, { gain: MONITOR_GAIN });
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(this.capture);
    source.connect(this.meter);
    source.connect(monitor).connect(this.context.destination);
    source.onended = () => this.#sampleOver();
    this.sample = { source, monitor, onEnd };
    this.door.gain.value = 0;
    source.start();
  }

  stopSample() {
    if (!this.sample) return;
    const { source } = this.sample;
    source.onended = null;
    source.stop();
    this.#sampleOver();
  }

  #sampleOver() {
    if (!this.sample) return;
    const { source, monitor, onEnd } = this.sample;
    source.disconnect();
    monitor.disconnect();
    this.sample = null;
    this.door.gain.value = 1;
    onEnd();
  }

  get delayMs() {
    return this.microphone?.delayMs ?? 0;
  }

  close() {
    this.stopSample();
    this.set(null);
    this.capture.port.onmessage = null;
    this.silence.stop();
  }
}
