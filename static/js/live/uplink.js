// The user's frames on their way to the site: numbered, silenced where muted, encoded and
// sent or counted as dropped.

const FORGET_AFTER = 50; // frames; an encoder gives a frame back long before, or never

/**
 * @import { Encoder, OnPayload } from "./audio_kinds.js"
 * @import { Link } from "./link.js"
 */

import { RestartingCodec } from "./restarting_codec.js";

/** @typedef {{ sent: number, received: number, late: number, dropped: number }} Flow counts of frames */

export class Uplink {
  seq = 0; // of the next frame
  closed = false;
  /** @type {Set<number>} */
  mutedFrames = new Set(); // seqs inside the encoder that were muted

  /**
   * @param {object} options
   * @param {Pick<Link, "live" | "sendFrame">} options.link
   * @param {Flow} options.flow
   * @param {(onPayload: OnPayload, onFailure: () => void) => Encoder} options.makeEncoder
   * @param {() => void} options.onGivenUp the encoder failed for good
   */
  constructor({ link, flow, makeEncoder, onGivenUp }) {
    this.link = link;
    this.flow = flow;
    /** @type {OnPayload} */
    const send = (payload, seq) => this.#send(payload, seq);
    /** @type {RestartingCodec<Encoder>} */
    this.encoder = new RestartingCodec((onFailure) => makeEncoder(send, onFailure), onGivenUp);
  }

  /**
   * Seqs continue over a resume; a site that has seen more than we know of says so.
   * @param {number} seq
   */
  from(seq) {
    this.seq = Math.max(this.seq, seq);
  }

  /**
   * Gives the seq of the frame.
   * @param {Float32Array<ArrayBuffer>} samples
   * @param {boolean} muted
   */
  push(samples, muted) {
    const { seq } = this;
    this.seq += 1;
    if (!this.link.live) {
      this.flow.dropped += 1; // while it reconnects; never sent later
      return seq;
    }
    if (muted) {
      samples.fill(0);
      this.mutedFrames.add(seq);
    }
    this.mutedFrames.delete(seq - FORGET_AFTER);
    if (!this.encoder.run((codec) => codec.encode(samples, seq))) this.flow.dropped += 1;
    return seq;
  }

  /** @param {number} count of frames that are never sent */
  leaveOut(count) {
    this.flow.dropped += count;
    this.seq += count;
  }

  /**
   * @param {Uint8Array} payload
   * @param {number} seq
   */
  #send(payload, seq) {
    const muted = this.mutedFrames.delete(seq);
    const kind = this.encoder.codec?.kind;
    if (this.closed || kind === undefined) return;
    if (this.link.sendFrame(kind, seq, payload, muted)) this.flow.sent += 1;
    else this.flow.dropped += 1;
  }

  close() {
    this.closed = true;
    this.encoder.close();
  }
}
