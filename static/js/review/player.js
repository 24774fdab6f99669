// Plays both sides on one clock: one Ogg file has the user left and the agent right, so
// that they can't drift apart, and it streams, however long the conversation was.

export class Player {
  constructor(audio, { changed, failed }) {
    this.audio = audio;
    this.volumes = { user: 1, agent: 1 };
    for (const name of ["play", "pause", "ended"]) {
      audio.addEventListener(name, changed);
    }
    audio.addEventListener("error", failed);
    if (audio.error) failed(); // it failed before this module ran
  }

  /** Web Audio is opened by the first click: browsers allow it only then. */
  #open() {
    if (this.context) return;
    this.context = new AudioContext();
    const source = this.context.createMediaElementSource(this.audio);
    const splitter = this.context.createChannelSplitter(2);
    source.connect(splitter);
    this.gains = { user: this.#side(splitter, 0), agent: this.#side(splitter, 1) };
    this.#applyVolumes();
  }

  #side(splitter, channel) {
    const gain = this.context.createGain();
    splitter.connect(gain, channel);
    gain.connect(this.context.destination); // mono: on both ears
    return gain;
  }

  #applyVolumes() {
    if (!this.gains) return;
    for (const side of ["user", "agent"]) {
      this.gains[side].gain.setTargetAtTime(this.volumes[side], this.context.currentTime, 0.015);
    }
  }

  /** 0 … 1 */
  setVolume(side, volume) {
    this.volumes[side] = volume;
    this.#applyVolumes();
  }

  async play() {
    this.#open();
    await this.context.resume();
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
