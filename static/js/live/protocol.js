// The wire format of docs/protocol.md: frames of 80 ms. Knows no sockets, no audio.

import { FRAME_MS } from "../shared/frames.js";

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

/** A user frame as it goes to the site. */
export function packFrame(kind, seq, payload, muted) {
  const message = new Uint8Array(HEADER + payload.byteLength);
  const header = new DataView(message.buffer);
  header.setUint8(0, kind);
  header.setUint8(1, muted ? MUTED : 0);
  header.setUint32(4, seq, true);
  message.set(new Uint8Array(payload.buffer, payload.byteOffset, payload.byteLength), HEADER);
  return message;
}

/** An agent frame as it comes from the site; null for anything else. */
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

/** The socket of a path on this site. */
export function socketUrl(path, location) {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  return `${scheme}//${location.host}${path}`;
}
