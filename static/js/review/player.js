// Plays both sides on one clock: one Ogg file has the user left and the agent right, so
// that they can't drift apart, and it streams, however long the conversation was.

/** @typedef {"user" | "agent"} Side */

/** @type {Side[]} */
export const SIDES = ["user", "agent"];

export class Player {
  volumes = { user: 1, agent: 1 };
  /** @type {AudioContext | null} */
  context = null;
  /** @type {Record<Side, GainNode> | null} */
  gains = null;

  /**
   * @param {HTMLAudioElement} audio
   * @param {{ changed: () => void, failed: () => void }} listener
   */
  constructor(audio, { changed, failed }) {
    this.audio = audio;
    for (const name of ["play", "pause", "ended"]) {
      audio.addEventListener(name, changed);
    }
    audio.addEventListener("error", failed);
    if (audio.error) failed(); // it failed before this module ran
  }

  /** Web Audio is opened by the first click: browsers allow it only then. */
  #open() {
    if (this.context) return this.context;
    const context = new AudioContext();
    const source = context.createMediaElementSource(this.audio);
    const splitter = context.createChannelSplitter(2);
    source.connect(splitter);
    const side = (/** @type {number} */ channel) => {
      const gain = context.createGain();
      splitter.connect(gain, channel);
      gain.connect(context.destination); // mono: on both ears
      return gain;
    };
    this.context = context;
    this.gains = { user: side(0), agent: side(1) };
    this.#applyVolumes();
    return context;
  }

  #applyVolumes() {
    if (!this.gains || !this.context) return;
    for (const side of SIDES) {
      this.gains[side].gain.setTargetAtTime(this.volumes[side], this.context.currentTime, 0.015);
    }
  }

  /**
   * @param {Side} side
   * @param {number} volume 0 … 1
   */
  setVolume(side, volume) {
    this.volumes[side] = volume;
    this.#applyVolumes();
  }

  async play() {
    await this.#open().resume();
    await this.audio.play();
  }

  async toggle() {
    if (this.playing) this.audio.pause();
    else await this.play();
  }

  get playing() {
    return !this.audio.paused;
  }
}
