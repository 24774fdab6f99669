// One opened microphone as a node of the audio graph.

const WANTED = {
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: false, // it pumps, and the model hears the room breathe
  channelCount: 1,
};

/**
 * Asks for the microphone; rejects as getUserMedia does.
 * @param {string} deviceId a wish: the default device is taken where it can't be had
 */
export async function openMicrophone(deviceId) {
  if (!deviceId) return ask({});
  try {
    return await ask({ deviceId: { exact: deviceId } });
  } catch (thrown) {
    const error = /** @type {DOMException} */ (thrown);
    if (error.name !== "OverconstrainedError" && error.name !== "NotFoundError") throw error;
    return ask({}); // it was unplugged since it was chosen
  }
}

/** @param {MediaTrackConstraints} more */
function ask(more) {
  return navigator.mediaDevices.getUserMedia({ audio: { ...WANTED, ...more } });
}

/** @param {MediaStream} stream */
export function stopTracks(stream) {
  for (const track of stream.getTracks()) track.stop();
}

export class Microphone {
  /**
   * @param {AudioContext} context
   * @param {MediaStream} stream
   * @param {{ lost(): void, silenced(bySystem: boolean): void }} listener
   */
  constructor(context, stream, listener) {
    this.stream = stream;
    this.track = stream.getAudioTracks()[0];
    this.node = context.createMediaStreamSource(stream);
    this.track.onended = () => listener.lost();
    this.track.onmute = () => listener.silenced(true);
    this.track.onunmute = () => listener.silenced(false);
  }

  get label() {
    return this.track.label || "the default microphone";
  }

  get deviceId() {
    return this.track.getSettings().deviceId ?? "";
  }

  /** What the device adds before a sample reaches us, as it reports it. */
  get delayMs() {
    /** @type {MediaTrackSettings & { latency?: number }} */
    const { latency = 0 } = this.track.getSettings();
    return 1000 * latency;
  }

  close() {
    this.track.onended = this.track.onmute = this.track.onunmute = null;
    this.node.disconnect();
    stopTracks(this.stream);
  }
}
