// The microphone as frames of 80 ms at 48 kHz. Knows no sockets.

const WANTED = {
  audio: {
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: false, // it pumps, and the model hears the room breathe
    channelCount: 1,
  },
};

/** Asks for the microphone. Rejects as getUserMedia does. */
export function openMicrophone() {
  return navigator.mediaDevices.getUserMedia(WANTED);
}

export class Microphone {
  /** The context must have the capture worklet. */
  constructor(context, stream, onFrame, onLost) {
    this.context = context;
    this.stream = stream;
    this.track = stream.getAudioTracks()[0];
    this.track.addEventListener("ended", onLost);
    this.source = context.createMediaStreamSource(stream);
    this.capture = new AudioWorkletNode(context, "capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    this.capture.port.onmessage = ({ data }) => onFrame(data.samples, data.end);
    this.meter = context.createAnalyser();
    this.meter.fftSize = 1024;
    this.source.connect(this.capture);
    this.source.connect(this.meter);
  }

  /** What the device says it adds before a sample reaches us. */
  get delayMs() {
    return 1000 * (this.track.getSettings().latency ?? 0);
  }

  close() {
    this.capture.port.onmessage = null;
    this.source.disconnect();
    for (const track of this.stream.getTracks()) track.stop();
  }
}
