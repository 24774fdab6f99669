// The sound of a conversation in the browser, both ways: the microphone or a sample as frames,
// and decoded frames at the loudspeaker. The frames go and come over the listener.

/**
 * @import { AUDIO_KINDS, Decoder } from "./audio_kinds.js"
 * @import { MicrophonesListener } from "./microphones.js"
 * @import { AgentFrame } from "./protocol.js"
 * @import { PlaybackReport } from "./speaker.js"
 */

import { Level } from "./level.js";
import { Microphones } from "./microphones.js";
import { RestartingCodec } from "./restarting_codec.js";
import { Speaker } from "./speaker.js";
import { UserInput } from "./user_input.js";

/**
 * @typedef {object} SoundEvents
 * @property {(samples: Float32Array<ArrayBuffer>, end: number) => void} captured a frame of
 *   the user, and the time after its last sample
 * @property {(report: PlaybackReport) => void} played
 * @property {() => void} decoderGivenUp
 * @typedef {MicrophonesListener & SoundEvents} SoundListener
 */

export class Sound {
  /**
   * @param {AudioContext & { setSinkId?: (id: string) => Promise<void> }} context must have the
   *   capture and playback worklets
   * @param {typeof AUDIO_KINDS["opus"]} audio
   * @param {SoundListener} listener
   */
  constructor(context, audio, listener) {
    this.context = context;
    this.speaker = new Speaker(context, (report) => listener.played(report));
    /** @type {RestartingCodec<Decoder>} */
    this.decoder = new RestartingCodec(
      (onFailure) => new audio.Decoder((samples, seq) => this.speaker.play(samples, seq), onFailure),
      () => listener.decoderGivenUp(),
    );
    this.input = new UserInput(context, (samples, end) => listener.captured(samples, end));
    this.microphones = new Microphones(context, this.input, listener);
    this.userLevel = new Level(this.input.meter);
    this.agentLevel = new Level(this.speaker.meter);
  }

  /** @param {AgentFrame} frame */
  play({ payload, seq }) {
    this.decoder.run((codec) => codec.decode(payload, seq));
  }

  /** Forgets what has not been heard yet. */
  reset() {
    this.speaker.reset();
  }

  /**
   * Rejects where the device can't be had.
   * @param {string} deviceId
   */
  async setLoudspeaker(deviceId) {
    await this.context.setSinkId?.(deviceId);
  }

  /** What the devices add, as they report it. */
  get delayMs() {
    return this.input.delayMs + this.speaker.delayMs;
  }

  close() {
    this.microphones.close();
    this.input.close();
    this.speaker.close();
    this.decoder.close();
  }
}
