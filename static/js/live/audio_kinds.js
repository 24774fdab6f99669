// Between samples at 48 kHz and payloads on the wire: Opus by WebCodecs, or PCM.
// Each has an encoder { encode(samples, seq), close() } and a decoder
// { decode(payload, seq), close() } that hand their results to callbacks in order.

import { CONTEXT_RATE, FRAME_MS, OPUS, PCM } from "./protocol.js";
import { DELAY, Doubler, Halver, fromInt16, toInt16 } from "./resample.js";

const FRAME_US = FRAME_MS * 1000;
const MOST_QUEUED = 6; // frames inside a codec; above it the newest are dropped
const ENCODER = {
  codec: "opus",
  sampleRate: CONTEXT_RATE,
  numberOfChannels: 1,
  bitrate: 32000,
  opus: {
    frameDuration: FRAME_US,
    application: "voip",
    signal: "voice",
    // From 7 on libopus narrows the bandwidth of silence and widens it for speech, and
    // Chromium can't put both into one 80 ms packet: the encoder breaks for good.
    complexity: 6,
    useinbandfec: true,
    packetlossperc: 0,
  },
};
const DECODER = { codec: "opus", sampleRate: CONTEXT_RATE, numberOfChannels: 1 };

/** "opus" where this browser can do 80 ms Opus packets both ways, else "pcm". */
export async function supportedAudio(scope = globalThis) {
  if (!scope.AudioEncoder || !scope.AudioDecoder || !scope.AudioData) return "pcm";
  try {
    const encoder = await scope.AudioEncoder.isConfigSupported(ENCODER);
    const decoder = await scope.AudioDecoder.isConfigSupported(DECODER);
    // A browser that does not know frameDuration would send 20 ms packets.
    const framed = encoder.config?.opus?.frameDuration === FRAME_US;
    return encoder.supported && decoder.supported && framed ? "opus" : "pcm";
  } catch {
    return "pcm";
  }
}

// WebCodecs counts time by itself from the first timestamp on: after a gap what comes out
// has another timestamp than what went in. So codecs see a clock without gaps, and the
// frame that each tick of it stands for is remembered here.
class Tickets {
  constructor() {
    this.next = 0;
    this.seqs = new Map();
  }

  issue(seq) {
    const ticket = this.next;
    this.next += 1;
    this.seqs.set(ticket, seq);
    return ticket * FRAME_US;
  }

  redeem(timestamp) {
    const ticket = Math.round(timestamp / FRAME_US);
    const seq = this.seqs.get(ticket);
    this.seqs.delete(ticket);
    return seq;
  }
}

class OpusEncoder {
  kind = OPUS;

  constructor(onPayload, onFailure) {
    this.tickets = new Tickets();
    this.encoder = new AudioEncoder({
      output: (chunk) => {
        const payload = new Uint8Array(chunk.byteLength);
        chunk.copyTo(payload);
        const seq = this.tickets.redeem(chunk.timestamp);
        if (seq !== undefined) onPayload(payload, seq);
      },
      error: onFailure,
    });
    this.encoder.configure(ENCODER);
  }

  /** False when the frame had to be dropped. */
  encode(samples, seq) {
    if (this.encoder.state !== "configured") return false;
    if (this.encoder.encodeQueueSize > MOST_QUEUED) return false;
    const data = new AudioData({
      format: "f32-planar",
      sampleRate: CONTEXT_RATE,
      numberOfFrames: samples.length,
      numberOfChannels: 1,
      timestamp: this.tickets.issue(seq),
      data: samples,
    });
    this.encoder.encode(data);
    data.close();
    return true;
  }

  close() {
    if (this.encoder.state !== "closed") this.encoder.close();
  }
}

class OpusDecoder {
  constructor(onSamples, onFailure) {
    this.tickets = new Tickets();
    this.decoder = new AudioDecoder({
      output: (data) => {
        const samples = new Float32Array(data.numberOfFrames);
        data.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
        const seq = this.tickets.redeem(data.timestamp);
        data.close();
        if (seq !== undefined) onSamples(samples, seq);
      },
      error: onFailure,
    });
    this.decoder.configure(DECODER);
  }

  decode(payload, seq) {
    if (this.decoder.state !== "configured") return false;
    if (this.decoder.decodeQueueSize > MOST_QUEUED) return false;
    const timestamp = this.tickets.issue(seq);
    const fields = { type: "key", timestamp, duration: FRAME_US, data: payload };
    this.decoder.decode(new EncodedAudioChunk(fields));
    return true;
  }

  close() {
    if (this.decoder.state !== "closed") this.decoder.close();
  }
}

class PcmEncoder {
  kind = PCM;

  constructor(onPayload) {
    this.halver = new Halver();
    this.onPayload = onPayload;
  }

  encode(samples, seq) {
    const pcm = toInt16(this.halver.process(samples));
    this.onPayload(new Uint8Array(pcm.buffer), seq);
    return true;
  }

  close() {}
}

class PcmDecoder {
  constructor(onSamples) {
    this.doubler = new Doubler();
    this.onSamples = onSamples;
  }

  decode(payload, seq) {
    this.onSamples(this.doubler.process(fromInt16(payload)), seq);
    return true;
  }

  close() {}
}

/** `delayMs`: what coding and decoding add on both ways (look-ahead, filters). */
export const AUDIO_KINDS = {
  opus: { Encoder: OpusEncoder, Decoder: OpusDecoder, delayMs: 2 * 6.5 },
  pcm: { Encoder: PcmEncoder, Decoder: PcmDecoder, delayMs: (2 * 1000 * DELAY) / CONTEXT_RATE },
};
