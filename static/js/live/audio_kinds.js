// Between samples at 48 kHz and payloads on the wire: Opus by WebCodecs (in packets of
// 80 ms, or of 20 ms that we join), or PCM.
// Each has an Encoder and a Decoder that hand their results to callbacks in order.

import { FRAME_MS } from "../shared/frames.js";
import { joinPackets } from "./opus_packets.js";
import { CONTEXT_RATE, CONTEXT_SAMPLES, OPUS, PCM } from "./protocol.js";
import { DELAY, Doubler, Halver, fromInt16, toInt16 } from "./resample.js";

/** @typedef {"opus" | "opusPieces" | "pcm"} AudioKind */
/** @typedef {(payload: Uint8Array<ArrayBuffer>, seq: number) => void} OnPayload */
/** @typedef {(samples: Float32Array<ArrayBuffer>, seq: number) => void} OnSamples */

/**
 * @typedef {object} Encoder
 * @property {number} kind of its payloads on the wire
 * @property {(samples: Float32Array<ArrayBuffer>, seq: number) => boolean} encode false when
 *   the frame had to be dropped
 * @property {() => void} close
 */

/**
 * @typedef {object} Decoder
 * @property {(payload: Uint8Array<ArrayBuffer>, seq: number) => boolean} decode
 * @property {() => void} close
 */

const FRAME_US = FRAME_MS * 1000;
const MAX_QUEUED = 6; // frames inside a codec; above it the newest are dropped
const OPUS_OPTIONS = {
  frameDuration: FRAME_US,
  application: "voip",
  signal: "voice",
  // From 7 on libopus narrows the bandwidth of silence and widens it for speech, and
  // Chromium can't put both into one 80 ms packet: the encoder breaks for good.
  complexity: 6,
  useinbandfec: true,
  packetlossperc: 0,
};
/** @type {AudioEncoderConfig} */
const ENCODER = {
  codec: "opus",
  sampleRate: CONTEXT_RATE,
  numberOfChannels: 1,
  bitrate: 32000,
  opus: OPUS_OPTIONS,
};
const PIECES = 4; // of 20 ms
/** @type {AudioEncoderConfig} */
const PIECES_ENCODER = {
  ...ENCODER,
  opus: { ...OPUS_OPTIONS, frameDuration: FRAME_US / PIECES },
};
const PROBE_MS = 1000;
const DECODER = { codec: "opus", sampleRate: CONTEXT_RATE, numberOfChannels: 1 };

/**
 * The first of "opus", "opusPieces" and "pcm" that this browser can do both ways.
 * @returns {Promise<AudioKind>}
 */
export async function supportedAudio(scope = globalThis) {
  if (!scope.AudioEncoder || !scope.AudioDecoder || !scope.AudioData) return "pcm";
  try {
    const decoder = await scope.AudioDecoder.isConfigSupported(DECODER);
    if (!decoder.supported) return "pcm";
    // A browser that does not know frameDuration would send 20 ms packets.
    const encoder = await scope.AudioEncoder.isConfigSupported(ENCODER).catch(() => null);
    const framed = encoder?.config?.opus?.frameDuration === FRAME_US;
    if (encoder?.supported && framed) return "opus";
    return (await piecesWork()) ? "opusPieces" : "pcm";
  } catch {
    return "pcm";
  }
}

// Only a try shows whether what it encodes can be joined, and whether it decodes that.
/** @returns {Promise<boolean>} */
function piecesWork() {
  return new Promise((resolve) => {
    const done = (/** @type {boolean} */ works) => {
      clearTimeout(limit);
      encoder?.close();
      decoder?.close();
      resolve(works);
    };
    const limit = setTimeout(() => done(false), PROBE_MS);
    const fail = () => done(false);
    /** @type {OnSamples} */
    const check = (samples, seq) => seq === 1 && done(samples.length === CONTEXT_SAMPLES);
    const decoder = new OpusDecoder(check, fail);
    const encoder = new OpusPiecesEncoder((payload, seq) => decoder.decode(payload, seq), fail);
    const tone = Float32Array.from({ length: CONTEXT_SAMPLES }, (_, i) => 0.1 * Math.sin(i / 20));
    for (const seq of [0, 1, 2]) encoder.encode(tone, seq);
  });
}

// WebCodecs counts time by itself from the first timestamp on: after a gap what comes out
// has another timestamp than what went in. So codecs see a clock without gaps, and the
// frame that each tick of it stands for is remembered here.
class TimestampMap {
  next = 0;
  /** @type {Map<number, number>} */
  seqs = new Map();

  /**
   * The timestamp to give to the codec for a frame.
   * @param {number} seq
   */
  add(seq) {
    const tick = this.next;
    this.next += 1;
    this.seqs.set(tick, seq);
    return tick * FRAME_US;
  }

  /**
   * The frame that a timestamp from the codec stands for.
   * @param {number} timestamp
   */
  take(timestamp) {
    const tick = Math.round(timestamp / FRAME_US);
    const seq = this.seqs.get(tick);
    this.seqs.delete(tick);
    return seq;
  }
}

/** @implements {Encoder} */
class OpusEncoder {
  kind = OPUS;

  /**
   * @param {OnPayload} onPayload
   * @param {() => void} onFailure
   */
  constructor(onPayload, onFailure, config = ENCODER) {
    this.timestamps = new TimestampMap();
    this.onPayload = onPayload;
    this.encoder = new AudioEncoder({
      output: (chunk) => {
        const packet = new Uint8Array(chunk.byteLength);
        chunk.copyTo(packet);
        this.take(packet, chunk.timestamp);
      },
      error: onFailure,
    });
    this.encoder.configure(config);
  }

  /**
   * @param {Uint8Array<ArrayBuffer>} packet
   * @param {number} timestamp
   */
  take(packet, timestamp) {
    const seq = this.timestamps.take(timestamp);
    if (seq !== undefined) this.onPayload(packet, seq);
  }

  /**
   * @param {Float32Array<ArrayBuffer>} samples
   * @param {number} seq
   */
  encode(samples, seq) {
    if (this.encoder.state !== "configured") return false;
    if (this.encoder.encodeQueueSize > MAX_QUEUED) return false;
    const data = new AudioData({
      format: "f32-planar",
      sampleRate: CONTEXT_RATE,
      numberOfFrames: samples.length,
      numberOfChannels: 1,
      timestamp: this.timestamps.add(seq),
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

class OpusPiecesEncoder extends OpusEncoder {
  /** @type {Uint8Array<ArrayBuffer>[]} */
  pieces = [];
  begins = 0; // timestamp of the first piece

  /**
   * @param {OnPayload} onPayload
   * @param {() => void} onFailure
   */
  constructor(onPayload, onFailure) {
    super(onPayload, onFailure, PIECES_ENCODER);
  }

  /**
   * One frame in, four packets out, in order: the codec's clock has no gaps.
   * @override
   * @param {Uint8Array<ArrayBuffer>} packet
   * @param {number} timestamp
   */
  take(packet, timestamp) {
    if (!this.pieces.length) this.begins = timestamp;
    this.pieces.push(packet);
    if (this.pieces.length < PIECES) return;
    const joined = joinPackets(this.pieces);
    this.pieces = [];
    // Null: the encoder changed its mode within the frame. It counts as missing.
    if (joined) super.take(joined, this.begins);
  }
}

/** @implements {Decoder} */
class OpusDecoder {
  /**
   * @param {OnSamples} onSamples
   * @param {() => void} onFailure
   */
  constructor(onSamples, onFailure) {
    this.timestamps = new TimestampMap();
    this.decoder = new AudioDecoder({
      output: (data) => {
        const samples = new Float32Array(data.numberOfFrames);
        data.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
        const seq = this.timestamps.take(data.timestamp);
        data.close();
        if (seq !== undefined) onSamples(samples, seq);
      },
      error: onFailure,
    });
    this.decoder.configure(DECODER);
  }

  /**
   * @param {Uint8Array<ArrayBuffer>} payload
   * @param {number} seq
   */
  decode(payload, seq) {
    if (this.decoder.state !== "configured") return false;
    if (this.decoder.decodeQueueSize > MAX_QUEUED) return false;
    const timestamp = this.timestamps.add(seq);
    const chunk = new EncodedAudioChunk({ type: "key", timestamp, duration: FRAME_US, data: payload });
    this.decoder.decode(chunk);
    return true;
  }

  close() {
    if (this.decoder.state !== "closed") this.decoder.close();
  }
}

/** @implements {Encoder} */
class PcmEncoder {
  kind = PCM;

  /** @param {OnPayload} onPayload */
  constructor(onPayload) {
    this.halver = new Halver();
    this.onPayload = onPayload;
  }

  /**
   * @param {Float32Array<ArrayBuffer>} samples
   * @param {number} seq
   */
  encode(samples, seq) {
    const pcm = toInt16(this.halver.process(samples));
    this.onPayload(new Uint8Array(pcm.buffer), seq);
    return true;
  }

  close() {}
}

/** @implements {Decoder} */
class PcmDecoder {
  /** @param {OnSamples} onSamples */
  constructor(onSamples) {
    this.doubler = new Doubler();
    this.onSamples = onSamples;
  }

  /**
   * @param {Uint8Array<ArrayBuffer>} payload
   * @param {number} seq
   */
  decode(payload, seq) {
    this.onSamples(this.doubler.process(fromInt16(payload)), seq);
    return true;
  }

  close() {}
}

/**
 * `delayMs`: what coding and decoding add on both ways (look-ahead, filters). The site's
 * Opus is the low-delay kind.
 * @type {Record<AudioKind, {
 *   wire: "opus" | "pcm",
 *   Encoder: new (onPayload: OnPayload, onFailure: () => void) => Encoder,
 *   Decoder: new (onSamples: OnSamples, onFailure: () => void) => Decoder,
 *   delayMs: number,
 * }>}
 */
export const AUDIO_KINDS = {
  opus: { wire: "opus", Encoder: OpusEncoder, Decoder: OpusDecoder, delayMs: 6.5 + 2.5 },
  opusPieces: { wire: "opus", Encoder: OpusPiecesEncoder, Decoder: OpusDecoder, delayMs: 6.5 + 2.5 },
  pcm: { wire: "pcm", Encoder: PcmEncoder, Decoder: PcmDecoder, delayMs: (2 * 1000 * DELAY) / CONTEXT_RATE },
};
