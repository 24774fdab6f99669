// The connection of one conversation over as many sockets as it takes. Resumes by token
// when the site falls silent or the socket closes, as docs/protocol.md describes; keeps the
// place in the queue by ticket. Carries frames without looking into them.
//
// opening ─> live ──lost──> returning ─> live … ; from everywhere `announced` (the site has
// sent `error` or `ended` and will close) and `over`. Times are those of the wall clock: a
// sleeping computer's other clocks may stand still.

/** @import { AgentFrame, PageEvent, Problem, ReadyEvent, SiteEvent, Start } from "./protocol.js" */

import { NOT_READY, RESUME_TOO_LATE, closeProblem, socketBlocked } from "./problems.js";
import { ConversationSocket } from "./socket.js";

const SILENT_MS = 4000; // from a live site there is a frame every 80 ms
const BUSY_MS = 30_000; // a live one that said "one moment"
const GLANCE_MS = 1000; // the same, when we have reason to doubt
const WATCH_MS = 500;
const ASLEEP_MS = 3000; // timers that stood still for so long
// How long a socket may take to open, the site to send its first event, and the
// next one while it makes ready. A token is single use, so an opened socket gets time.
const PATIENCE_MS = {
  opening: { open: 15_000, first: 15_000, next: 60_000 },
  returning: { open: 4000, first: 15_000, next: 20_000 },
};
const DELAYS_MS = [0, 500, 1000, 2000, 4000];
const QUEUE_MS = 60_000; // how long we try to come back to our place in the queue
const DONE = 1000; // ends the conversation, however late it reaches the site
const GIVEN_UP = 4001; // we come back over another socket
const COME_BACK = new Set([1012, 4412]); // the web process that served us has stopped

/**
 * @typedef {object} LinkListener
 * @property {(event: SiteEvent) => void} event
 * @property {(frame: AgentFrame) => void} frame
 * @property {(untilMs: number) => void} lost
 * @property {(problem: Problem) => void} over not called for what an `error` or `ended`
 *   event announced
 */

export class Link {
  /** @type {"opening" | "live" | "returning" | "announced" | "over"} */
  phase = "opening";
  /** @type {"open" | "first" | "next"} */
  progress = "open"; // what is waited for
  /** @type {ConversationSocket | null} */
  socket = null;
  /** @type {{ conversation: string, token: string } | null} */
  resume = null;
  /** @type {string | null} */
  ticket = null;
  attempts = 0;
  resumes = 0;
  deadline = Infinity;
  keptMs = 0; // for how long the site keeps the conversation after a loss
  busy = false; // the site makes something ready and need not send a frame each 80 ms
  probing = false;
  receivedAt = 0;
  connectedAt = 0;
  /** @type {number | null} */
  sendingSince = null;
  lastWatch = 0;
  /** @type {number | undefined} */
  watch;
  /** @type {number | undefined} */
  timer;

  /**
   * @param {object} options
   * @param {string} options.url
   * @param {Start} options.start
   * @param {() => number} options.have the last agent seq played, or -1
   * @param {LinkListener} options.listener
   * @param {() => Promise<boolean>} options.siteAnswers whether plain HTTP gets through
   * @param {typeof ConversationSocket} [options.Socket]
   */
  constructor({ url, start, have, listener, siteAnswers, Socket = ConversationSocket }) {
    this.url = url;
    this.start = start;
    this.have = have;
    this.listener = listener;
    this.siteAnswers = siteAnswers;
    this.Socket = Socket;
    this.doubt = () => this.#glance();
    this.seen = () => document.visibilityState === "visible" && this.#glance();
  }

  open() {
    this.lastWatch = Date.now();
    this.watch = setInterval(() => this.#watch(), WATCH_MS);
    addEventListener("online", this.doubt);
    addEventListener("pageshow", this.doubt);
    document.addEventListener("visibilitychange", this.seen);
    this.#connect();
  }

  get live() {
    return this.phase === "live";
  }

  /** @param {PageEvent} event */
  send(event) {
    this.socket?.send(event);
  }

  /**
   * False when the frame had to be dropped.
   * @param {number} kind
   * @param {number} seq
   * @param {Uint8Array} payload
   * @param {boolean} muted
   */
  sendFrame(kind, seq, payload, muted) {
    if (!this.live || !this.socket) return false;
    this.sendingSince ??= Date.now();
    return this.socket.sendFrame(kind, seq, payload, muted);
  }

  close() {
    this.phase = "over";
    this.probing = false;
    clearInterval(this.watch);
    clearTimeout(this.timer);
    removeEventListener("online", this.doubt);
    removeEventListener("pageshow", this.doubt);
    document.removeEventListener("visibilitychange", this.seen);
    this.#drop(DONE);
  }

  #connect() {
    const start = { ...this.start };
    if (this.resume) start.resume = { ...this.resume, have: this.have() };
    else if (this.ticket) start.ticket = this.ticket;
    this.receivedAt = this.connectedAt = Date.now();
    this.progress = "open";
    this.socket = new this.Socket(this.url, start, {
      opened: () => this.#opened(),
      event: (event) => this.#event(event),
      frame: (frame) => this.#frame(frame),
      closed: (code) => this.#closed(code),
    });
  }

  #drop(code = GIVEN_UP) {
    this.socket?.close(code);
    this.socket = null;
  }

  #opened() {
    this.receivedAt = Date.now();
    this.progress = "first";
  }

  /** @param {AgentFrame} frame */
  #frame(frame) {
    this.receivedAt = Date.now();
    this.listener.frame(frame);
  }

  /** @param {SiteEvent} event */
  #event(event) {
    this.receivedAt = Date.now();
    this.progress = "next";
    if (event.type === "waiting") this.ticket = event.ticket;
    if (event.type === "state") this.busy = event.state !== "live";
    if (event.type === "ready") this.#ready(event);
    if (event.type === "error" || event.type === "ended") this.phase = "announced";
    this.listener.event(event);
  }

  /** @param {ReadyEvent} event */
  #ready(event) {
    if (this.phase === "returning") this.resumes += 1;
    this.phase = "live";
    this.sendingSince = null;
    this.attempts = 0;
    this.deadline = Infinity;
    this.ticket = null;
    // Single use: this one is for the next loss.
    const { conversation, resume: token } = event;
    this.resume = token ? { conversation, token } : null;
    this.keptMs = 1000 * (event.resume_seconds ?? 0);
  }

  /** @param {number} code */
  #closed(code) {
    this.socket = null;
    if (this.phase === "over" || this.phase === "announced") return;
    if (this.#mayReturn(code)) this.#return(code);
    else if (this.#neverOpened && code === 1006) this.#endUnopened();
    else this.#end(closeProblem(code, this.phase !== "opening"));
  }

  /** @param {number} code */
  #mayReturn(code) {
    const asked = COME_BACK.has(code);
    if (!asked && (code === 1000 || code >= 4000)) return false; // the site meant it
    if (this.phase === "opening") return asked || Boolean(this.ticket);
    return Boolean(this.resume) && this.keptMs > 0;
  }

  /** @param {number} code */
  #return(code) {
    const now = Date.now();
    if (this.phase === "live") {
      this.deadline = this.receivedAt + this.keptMs;
      this.attempts = 0;
      this.phase = "returning";
      this.listener.lost(this.deadline);
    } else if (this.deadline === Infinity) this.deadline = now + QUEUE_MS;
    const delay = DELAYS_MS[Math.min(this.attempts, DELAYS_MS.length - 1)];
    this.attempts += 1;
    if (now + delay > this.deadline) {
      this.#end(this.resume ? RESUME_TOO_LATE : closeProblem(code, false));
      return;
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#connect(), delay);
  }

  get #neverOpened() {
    return this.phase === "opening" && this.progress === "open";
  }

  /** No socket: is the site away, or does something on the way stop WebSockets? */
  async #endUnopened() {
    this.close();
    this.probing = true;
    const there = await this.siteAnswers();
    if (!this.probing) return; // the user has left meanwhile
    this.listener.over(there ? socketBlocked(new URL(this.url).host) : closeProblem(1006, false));
  }

  /** @param {Problem} problem */
  #end(problem) {
    this.close();
    this.listener.over(problem);
  }

  // A silent socket is given up: it may never close by itself.
  #watch() {
    const now = Date.now();
    const slept = now - this.lastWatch > ASLEEP_MS;
    this.lastWatch = now;
    if (slept) return; // what came meanwhile is delivered first; the next look counts
    if (now > this.deadline && this.progress === "open") {
      this.#drop();
      this.#return(1006);
    } else if (this.socket && this.#silentMs(now) > this.#patience()) this.#lose();
  }

  /** @param {number} now */
  #silentMs(now) {
    return now - Math.max(this.receivedAt, this.sendingSince ?? 0);
  }

  #patience() {
    const { phase, progress } = this;
    if (phase === "opening" || phase === "returning") return PATIENCE_MS[phase][progress];
    if (phase !== "live") return Infinity;
    if (!this.#mayReturn(1006) || !this.sendingSince) return Infinity;
    return this.busy ? BUSY_MS : SILENT_MS;
  }

  #lose() {
    this.#drop();
    if (this.#mayReturn(1006)) this.#return(1006);
    else if (this.#neverOpened) this.#endUnopened();
    else this.#end(this.progress === "next" ? NOT_READY : closeProblem(1006, false));
  }

  // Another network, or awake again: don't wait for the usual times.
  #glance() {
    const now = Date.now();
    if (this.phase === "live" && this.#patience() === SILENT_MS) {
      if (this.#silentMs(now) > GLANCE_MS) this.#lose();
    } else if (this.phase === "returning" && this.progress === "open") {
      if (this.socket && now - this.connectedAt < GLANCE_MS) return;
      clearTimeout(this.timer);
      this.#drop();
      this.attempts = 0;
      this.#return(1006);
    }
  }
}
