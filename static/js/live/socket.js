// The conversation's WebSocket: events and frames of docs/protocol.md.

/** @import { AgentFrame, PageEvent, SiteEvent, Start } from "./protocol.js" */

import { packFrame, unpackFrame } from "./protocol.js";

// More than this unsent means that the network does not keep up: 12 frames stay well
// below the burst of 2 s that the site accepts when it recovers.
const MAX_UNSENT_FRAMES = 12;

/**
 * @typedef {object} SocketListener
 * @property {() => void} opened
 * @property {(event: SiteEvent) => void} event
 * @property {(frame: AgentFrame) => void} frame
 * @property {(code: number) => void} closed
 */

export class ConversationSocket {
  /**
   * @param {string} url
   * @param {Start} start
   * @param {SocketListener} listener
   */
  constructor(url, start, listener) {
    this.socket = new WebSocket(url);
    this.socket.binaryType = "arraybuffer";
    this.unsent = 0;
    this.socket.onopen = () => {
      this.send({ type: "start", ...start });
      listener.opened();
    };
    this.socket.onmessage = ({ data }) => receive(data, listener);
    this.socket.onclose = ({ code }) => listener.closed(code);
  }

  /** @param {PageEvent} event */
  send(event) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(event));
  }

  /**
   * False when the frame had to be dropped: it counts, and its seq is skipped.
   * @param {number} kind
   * @param {number} seq
   * @param {Uint8Array} payload
   * @param {boolean} muted
   */
  sendFrame(kind, seq, payload, muted) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    const message = packFrame(kind, seq, payload, muted);
    if (this.socket.bufferedAmount > MAX_UNSENT_FRAMES * message.byteLength) {
      this.unsent += 1;
      return false;
    }
    this.socket.send(message);
    return true;
  }

  /** @param {number} code 1000: the page is done with the conversation; any other leaves it to wait */
  close(code) {
    this.socket.onopen = null;
    this.socket.onmessage = null;
    this.socket.onclose = null;
    this.socket.close(code);
  }
}

/**
 * @param {string | ArrayBuffer} data
 * @param {SocketListener} listener
 */
function receive(data, listener) {
  if (typeof data === "string") {
    const event = parse(data);
    if (event) listener.event(event);
    return;
  }
  const frame = unpackFrame(data);
  if (frame) listener.frame(frame);
}

/**
 * @param {string} text
 * @returns {SiteEvent | null}
 */
function parse(text) {
  try {
    const event = JSON.parse(text);
    return typeof event?.type === "string" ? event : null;
  } catch {
    return null;
  }
}
