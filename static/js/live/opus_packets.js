// Joins Opus packets of one frame each into a longer one (RFC 6716, section 3.2): for
// browsers whose encoder makes 20 ms packets only.

const LONG = 252; // lengths from here on take two bytes

/**
 * One packet of all frames in order; null where they can't share one.
 * @param {Uint8Array[]} packets
 */
export function joinPackets(packets) {
  const first = packets[0][0];
  // The lowest bits count the frames; the others must be the same for all of them.
  if (packets.some(([toc]) => toc !== first || (toc & 3) !== 0)) return null;
  const frames = packets.map((packet) => packet.subarray(1));
  const head = [first | 3, 0x80 | frames.length]; // any number of frames, any lengths
  for (const { length } of frames.slice(0, -1)) head.push(...lengthBytes(length));
  const joined = new Uint8Array(head.length + frames.reduce((sum, { length }) => sum + length, 0));
  joined.set(head);
  let at = head.length;
  for (const frame of frames) {
    joined.set(frame, at);
    at += frame.length;
  }
  return joined;
}

/** @param {number} length */
function lengthBytes(length) {
  if (length < LONG) return [length];
  const low = LONG + (length & 3);
  return [low, (length - low) >> 2];
}
