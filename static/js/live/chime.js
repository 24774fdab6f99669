// Calls the user back who waits in the queue: a soft sound, and the title of the tab.

const NOTES_HZ = [659.3, 880];

/**
 * Two notes.
 * @param {AudioContext} context must have been started by a click
 */
export function ring(context) {
  NOTES_HZ.forEach((frequency, i) => {
    const at = context.currentTime + 0.18 * i;
    const tone = new OscillatorNode(context, { frequency });
    const level = new GainNode(context, { gain: 0 });
    level.gain.setValueAtTime(0, at);
    level.gain.linearRampToValueAtTime(0.12, at + 0.015);
    level.gain.exponentialRampToValueAtTime(0.0005, at + 0.7);
    tone.connect(level).connect(context.destination);
    tone.start(at);
    tone.stop(at + 0.75);
  });
}

export class Title {
  calling = false; // until the user looks

  constructor() {
    this.usual = document.title;
    document.addEventListener("visibilitychange", () => {
      if (this.calling && document.visibilityState === "visible") this.clear();
    });
  }

  /** @param {number} position in the queue */
  waiting(position) {
    this.calling = false;
    document.title = `(${position}) ${this.usual}`;
  }

  /** @param {string} text */
  call(text) {
    this.clear();
    if (document.visibilityState === "visible") return;
    this.calling = true;
    document.title = `● ${text}`;
  }

  clear() {
    this.calling = false;
    document.title = this.usual;
  }
}
