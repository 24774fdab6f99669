// The wire format of docs/protocol.md: types of its events, and frames as bytes.

import { FRAME_MS } from "../shared/frames.js";

/**
 * @typedef {object} AgentFrame
 * @property {number} kind OPUS or PCM
 * @property {number} seq of the user frame that it answers
 * @property {boolean} late
 * @property {boolean} droppedBefore user frames were dropped before this one
 * @property {number} pathMs from packet to packet at the site
 * @property {Uint8Array<ArrayBuffer>} payload
 */

/**
 * @typedef {object} Sampling
 * @property {number} [temperature_text]
 * @property {number} [top_k_text]
 * @property {number} [temperature_audio]
 * @property {number} [top_k_audio]
 * @property {number} [seed]
 * @property {boolean} [greedy]
 */

/**
 * The fields of `start`.
 * @typedef {object} Start
 * @property {"opus" | "pcm"} audio
 * @property {Sampling} [sampling]
 * @property {{ conversation: string, token: string, have: number }} [resume]
 * @property {string} [ticket]
 */

/**
 * @typedef {{ type: "leave" | "say_again" | "end" }
 *   | { type: "rewind", seconds: number }
 *   | ({ type: "stats" } & PageStats)
 *   | ({ type: "start" } & Start)} PageEvent
 */

/**
 * @typedef {object} PageStats
 * @property {number} [latency_ms]
 * @property {number} [buffer_ms]
 * @property {number} jitter_ms
 * @property {number} underruns
 * @property {number} skipped_ms
 * @property {number} stretched_ms
 * @property {number} dropped
 * @property {number} late
 * @property {number} echo
 * @property {boolean} muted
 * @property {boolean} hidden
 */

/** @typedef {"connecting" | "waiting" | "priming" | "live" | "resuming" | "recovering"} SiteState */
/** @typedef {{ type: "state", state: SiteState, seconds?: number }} StateEvent */
/** @typedef {{ position: number, of: number, eta_s: number | null }} QueuePosition */
/** @typedef {{ type: "waiting", ticket: string } & QueuePosition} WaitingEvent */
/** @typedef {{ type: "text", frame: number, piece: string }} TextEvent */
/** @typedef {{ type: "notice", code: string, text: string }} NoticeEvent */
/** @typedef {{ code: string, text: string, retryable: boolean, retry_after_s?: number }} Problem */
/** @typedef {{ type: "error" } & Problem} ErrorEvent */
/** @typedef {{ type: "ended", reason: string, text: string, url?: string }} EndedEvent */
/** @typedef {{ type: "rewound", frame: number, seconds: number, context_seconds: number }} RewoundEvent */

/**
 * @typedef {object} ReadyEvent
 * @property {"ready"} type
 * @property {string} conversation
 * @property {boolean} trained
 * @property {number} context_seconds left now
 * @property {number} seed
 * @property {Sampling} sampling as applied
 * @property {string} [resume] the token
 * @property {number} [resume_seconds]
 * @property {number} [next_seq]
 * @property {boolean} rewinds
 * @property {"slide" | "pin" | "end"} when_full
 */

/**
 * @typedef {StateEvent | WaitingEvent | ReadyEvent | RewoundEvent | NoticeEvent
 *   | TextEvent | ErrorEvent | EndedEvent} SiteEvent
 */

export const OPUS = 1;
export const PCM = 2;
export const MUTED = 1;
export const LATE = 1;
export const DROPPED_BEFORE = 2;

export const CONTEXT_RATE = 48000; // Hz, of the browser's audio context
export const CONTEXT_SAMPLES = (CONTEXT_RATE * FRAME_MS) / 1000; // of one frame
export const WIRE_SAMPLES = CONTEXT_SAMPLES / 2; // of one PCM frame, at 24 kHz
export const MAX_MESSAGE = 8192; // bytes
const HEADER = 8; // bytes

/**
 * A user frame as it goes to the site.
 * @param {number} kind
 * @param {number} seq
 * @param {Uint8Array} payload
 * @param {boolean} muted
 */
export function packFrame(kind, seq, payload, muted) {
  const message = new Uint8Array(HEADER + payload.byteLength);
  const header = new DataView(message.buffer);
  header.setUint8(0, kind);
  header.setUint8(1, muted ? MUTED : 0);
  header.setUint32(4, seq, true);
  message.set(new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength), HEADER);
  return message;
}

/**
 * An agent frame as it comes from the site; null for anything else.
 * @param {ArrayBuffer} buffer
 * @returns {AgentFrame | null}
 */
export function unpackFrame(buffer) {
  if (buffer.byteLength <= HEADER) return null;
  const header = new DataView(buffer);
  const kind = header.getUint8(0);
  if (kind !== OPUS && kind !== PCM) return null;
  const payload = new Uint8Array(buffer, HEADER);
  if (kind === PCM && payload.byteLength !== 2 * WIRE_SAMPLES) return null;
  const flags = header.getUint8(1);
  return {
    kind,
    seq: header.getUint32(4, true),
    late: Boolean(flags & LATE),
    droppedBefore: Boolean(flags & DROPPED_BEFORE),
    pathMs: header.getUint16(2, true) / 10,
    payload,
  };
}

/**
 * The socket of a path on this site.
 * @param {string} path
 * @param {{ protocol: string, host: string }} location
 */
export function socketUrl(path, location) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${location.host}${path}`;
}
