// A take from the microphone: WebM or MP4 as the browser records it.

import { Level } from "../live/level.js";

const WANTED = {
  audio: {
    echoCancellation: false, // nothing plays while recording, and it dulls the voice
    noiseSuppression: true,
    autoGainControl: false,
    channelCount: 1,
  },
};
const KINDS = [
  ["audio/webm;codecs=opus", "recording.webm"],
  ["audio/ogg;codecs=opus", "recording.ogg"],
  ["audio/mp4", "recording.m4a"],
];
const BITS_PER_SECOND = 128_000;

/** @typedef {{ file: File, seconds: number }} Take */

export function canRecord() {
  return Boolean("mediaDevices" in navigator && "MediaRecorder" in window && kind());
}

export class Recorder {
  /** Asks for the microphone and begins at once; rejects as getUserMedia does. */
  static async begin() {
    return new Recorder(await navigator.mediaDevices.getUserMedia(WANTED));
  }

  /** @param {MediaStream} stream */
  constructor(stream) {
    this.stream = stream;
    this.startedAt = performance.now();
    this.context = new AudioContext();
    const meter = this.context.createAnalyser();
    meter.fftSize = 1024;
    this.context.createMediaStreamSource(stream).connect(meter);
    this.meter = new Level(meter);
    const [mimeType, name] = kind() ?? KINDS[0];
    this.name = name;
    /** @type {Blob[]} */
    this.parts = [];
    this.recorder = new MediaRecorder(stream, { mimeType, audioBitsPerSecond: BITS_PER_SECOND });
    this.recorder.ondataavailable = ({ data }) => this.parts.push(data);
    this.recorder.start();
  }

  get seconds() {
    return (performance.now() - this.startedAt) / 1000;
  }

  level() {
    return this.meter.read();
  }

  /** @returns {Promise<Take>} */
  stop() {
    const seconds = this.seconds;
    return new Promise((resolve) => {
      this.recorder.onstop = () => {
        for (const track of this.stream.getTracks()) track.stop();
        this.context.close();
        const type = this.recorder.mimeType.split(";")[0];
        resolve({ file: new File(this.parts, this.name, { type }), seconds });
      };
      this.recorder.stop();
    });
  }
}

/**
 * What to show when the microphone can't be had.
 * @param {{ name: string }} error of getUserMedia
 */
export function microphoneProblem(error) {
  if (error.name === "NotAllowedError") {
    return "The microphone is blocked for this page. Allow it next to the address, then try again.";
  }
  if (error.name === "NotFoundError") {
    return "No microphone was found. Connect one, or choose a file instead.";
  }
  return `The microphone could not be opened (${error.name}). Is another program using it?`;
}

function kind() {
  return KINDS.find(([type]) => MediaRecorder.isTypeSupported(type));
}
