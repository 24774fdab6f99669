// What the model hears of the user, in frames of 80 ms at 48 kHz: the microphone, a
// sample in its place, or silence. The model needs a frame every 80 ms, so silence is a
// source of its own and frames come whatever is plugged in. Knows no sockets.

const MONITOR_GAIN = 0.35; // a sample is heard in the room too, quietly

export class UserInput {
  /** The context must have the capture worklet. `onFrame(samples, end)`. */
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

  /** The microphone, or null for none. The old one is closed. */
  set(microphone) {
    this.microphone?.close();
    this.microphone = microphone;
    microphone?.node.connect(this.door);
  }

  /** Plays an AudioBuffer in place of the microphone; another one that plays is stopped. */
  play(buffer, onEnd) {
    this.stopSample();
    const monitor = new GainNode(this.context, { gain: MONITOR_GAIN });
    const source = new AudioBufferSourceNode(this.context, { buffer });
    source.connect(this.capture);
    source.connect(this.meter);
    source.connect(monitor).connect(this.context.destination);
    source.onended = () => this.#sampleOver(onEnd);
    this.sample = { source, monitor, onEnd };
    this.door.gain.value = 0;
    source.start();
  }

  stopSample() {
    if (!this.sample) return;
    const { source, onEnd } = this.sample;
    source.onended = null;
    source.stop();
    this.#sampleOver(onEnd);
  }

  #sampleOver(onEnd) {
    this.sample.source.disconnect();
    this.sample.monitor.disconnect();
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
