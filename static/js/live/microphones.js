// Which microphone a conversation has: opens one, replaces it by another, and judges what it
// gives. Without any the user is silent. What happens is reported to a listener.

/**
 * @import { SignalProblem } from "./microphone_signal.js"
 * @import { MicrophoneReason } from "./notes.js"
 * @import { Problem } from "./protocol.js"
 * @import { UserInput } from "./user_input.js"
 */

import { MicrophoneSignal } from "./microphone_signal.js";
import { Microphone, openMicrophone, stopTracks } from "./microphone.js";
import { microphoneProblem } from "./problems.js";

/**
 * @typedef {object} MicrophonesListener
 * @property {(microphone: Microphone | null, problem: Problem | null, reason: MicrophoneReason) => void} microphone
 *   one was opened, or could not be because of a problem
 * @property {(silenced: boolean) => void} silenced the system muted the microphone, or no more
 * @property {(problem: SignalProblem | null) => void} signal
 */

export class Microphones {
  asked = false; // the browser has given one, or has refused to
  silenced = false;
  closed = false;

  /**
   * @param {AudioContext} context
   * @param {UserInput} input
   * @param {MicrophonesListener} listener
   */
  constructor(context, input, listener) {
    this.context = context;
    this.input = input;
    this.listener = listener;
    this.signal = new MicrophoneSignal((problem) => listener.signal(problem));
  }

  /**
   * The one in use stays where no other can be had.
   * @param {Promise<MediaStream>} opening
   * @param {MicrophoneReason} reason
   */
  async take(opening, reason) {
    let stream = null;
    try {
      stream = await opening;
      if (this.closed) return stopTracks(stream);
      const microphone = new Microphone(this.context, stream, {
        lost: () => this.find("lost"),
        silenced: (silenced) => this.#silenced(silenced),
      });
      this.input.set(microphone);
      this.signal.reset();
      this.#silenced(false);
      this.asked = true;
      this.listener.microphone(microphone, null, reason);
    } catch (error) {
      if (stream) stopTracks(stream);
      if (this.closed) return;
      this.asked = true;
      const problem = microphoneProblem(/** @type {Error} */ (error));
      this.listener.microphone(this.input.microphone, problem, reason);
    }
  }

  /** @param {string} deviceId */
  choose(deviceId) {
    return this.take(openMicrophone(deviceId), "chosen");
  }

  /**
   * The default one in place of one that went away, or of none.
   * @param {MicrophoneReason} reason
   */
  find(reason) {
    this.input.set(null);
    this.signal.reset();
    return this.take(openMicrophone(""), reason);
  }

  /**
   * A frame that the microphone gave.
   * @param {Float32Array} samples
   */
  judge(samples) {
    if (this.input.microphone) this.signal.add(samples);
  }

  /** @param {boolean} silenced */
  #silenced(silenced) {
    this.silenced = silenced;
    this.listener.silenced(silenced);
  }

  close() {
    this.closed = true;
  }
}
