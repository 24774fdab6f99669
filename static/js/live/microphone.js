// One opened microphone as a node of the audio graph. Knows no sockets.

const WANTED = {
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: false, // it pumps, and the model hears the room breathe
  channelCount: 1,
};

/**
 * Asks for the microphone; `deviceId` is a wish, and the default device is taken where it
 * can't be had. Rejects as getUserMedia does.
 */
export async function openMicrophone(deviceId) {
  if (!deviceId) return ask({});
  try {
    return await ask({ deviceId: { exact: deviceId } });
  } catch (error) {
    if (error.name !== "OverconstrainedError" && error.name !== "NotFoundError") throw error;
    return ask({}); // it was unplugged since it was chosen
  }
}

function ask(more) {
  return navigator.mediaDevices.getUserMedia({ audio: { ...WANTED, ...more } });
}

export function stopTracks(stream) {
  for (const track of stream.getTracks()) track.stop();
}

export class Microphone {
  /** `listener`: { lost(), silenced(whether the system muted it) } */
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

  /** What the device says it adds before a sample reaches us. */
  get delayMs() {
    return 1000 * (this.track.getSettings().latency ?? 0);
  }

  close() {
    this.track.onended = this.track.onmute = this.track.onunmute = null;
    this.node.disconnect();
    stopTracks(this.stream);
  }
}
