// The user's frames on their way to the site: numbered, silenced where muted, encoded and
// sent or counted as dropped. Knows no audio graph and no page.

const FORGET_AFTER = 50; // frames; an encoder gives a frame back long before, or never

export class Uplink {
  /** `makeEncoder(onPayload)`: of audio_kinds.js, in a RestartingCodec. `flow`: counts of frames. */
  constructor({ link, flow, makeEncoder }) {
    Object.assign(this, { link, flow });
    this.seq = 0; // of the next frame
    this.mutedFrames = new Set(); // seqs inside the encoder that were muted
    this.encoder = makeEncoder((payload, seq) => this.#send(payload, seq));
  }

  /** Seqs go on over a resume; a site that has seen more than we know of says so. */
  from(seq) {
    this.seq = Math.max(this.seq, seq);
  }

  /** Gives the seq of the frame. */
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
    if (!this.encoder.run("encode", samples, seq)) this.flow.dropped += 1;
    return seq;
  }

  /** Frames that are never sent. */
  leaveOut(count) {
    this.flow.dropped += count;
    this.seq += count;
  }

  #send(payload, seq) {
    const muted = this.mutedFrames.delete(seq);
    if (this.closed) return;
    if (this.link.sendFrame(this.encoder.kind, seq, payload, muted)) this.flow.sent += 1;
    else this.flow.dropped += 1;
  }

  close() {
    this.closed = true;
    this.encoder.close();
  }
}
