// What the live page shows of a conversation: phase, text, problems. It decides nothing: the
// controller does.

/**
 * @import { Phase, PhaseDetail } from "./phases.js"
 * @import { Problem, ReadyEvent } from "./protocol.js"
 */

import { byId, make, setShown, setText } from "../shared/dom.js";
import { clock, count, initial, wait } from "../shared/format.js";
import { FRAME_S } from "../shared/frames.js";
import { Announcer } from "./announcer.js";
import { BUSY, SPEAKING, describe } from "./phases.js";
import { Timeline, Transcript } from "./transcript.js";

export class LiveView {
  transcript = new Transcript();
  timeline = new Timeline();
  words = make("span"); // of the newest line

  /** @param {string} name of the persona */
  constructor(name) {
    this.name = name;
    this.talk = byId("talk");
    this.start = byId("start", HTMLButtonElement);
    this.mute = byId("mute", HTMLButtonElement);
    this.end = byId("end", HTMLButtonElement);
    this.log = byId("transcript");
    const meters = (/** @type {"user" | "agent"} */ who) => {
      const selector = `.ring.${who}, .meter.${who} .meter-bar span`;
      return [.../** @type {NodeListOf<HTMLElement>} */ (this.talk.querySelectorAll(selector))];
    };
    this.meters = { user: meters("user"), agent: meters("agent") };
    this.announcer = new Announcer();
  }

  /**
   * @param {Phase} phase
   * @param {PhaseDetail} detail
   */
  phase(phase, detail = {}) {
    const { status, hint } = describe(phase, this.name, detail);
    if (this.talk.dataset.phase !== phase) this.talk.dataset.phase = phase;
    this.talk.toggleAttribute("data-silent", Boolean(detail.silent));
    setText(byId("status"), status);
    setText(byId("status-hint"), hint);
    setShown(this.start, !BUSY.has(phase));
    setShown(byId("orb-face"), BUSY.has(phase));
    setText(byId("orb-initial"), this.#face(phase, detail));
    setShown(byId("controls"), BUSY.has(phase));
    setShown(byId("before"), phase === "idle");
    setShown(byId("meters"), SPEAKING.has(phase));
    setText(byId("start-label"), phase === "ended" ? "Talk again" : `Talk to ${this.name}`);
    setText(byId("end-label"), phase === "waiting" ? "Leave the queue" : SPEAKING.has(phase) ? "End" : "Cancel");
    setShown(this.mute, phase !== "waiting");
    this.mute.disabled = !SPEAKING.has(phase);
    this.#muted(detail.muted ?? phase === "muted");
  }

  /**
   * @param {Phase} phase
   * @param {PhaseDetail} detail
   */
  #face(phase, { place }) {
    return phase === "waiting" && place ? String(place.position) : initial(this.name);
  }

  /** @param {boolean} muted */
  #muted(muted) {
    this.mute.setAttribute("aria-pressed", String(muted));
    setText(byId("mute-label"), muted ? "Unmute" : "Mute");
  }

  /**
   * Going back is offered while live, where the site can do it.
   * @param {boolean} shown
   * @param {boolean} busy
   */
  again(shown, busy) {
    setShown(byId("again"), shown);
    for (const button of byId("again").querySelectorAll("button")) button.disabled = busy;
  }

  /** Clears what an earlier conversation left. */
  fresh() {
    this.transcript = new Transcript();
    this.timeline = new Timeline();
    this.log.replaceChildren();
    this.announcer.clear();
    for (const id of ["problem", "kept", "facts", "transcript-card", "same-seed"]) {
      setShown(byId(id), false);
    }
  }

  /** For keyboards and screen readers. */
  focusStatus() {
    byId("status").focus();
  }

  /** @param {ReadyEvent} event */
  ready(event) {
    setShown(byId("facts"), true);
    setShown(byId("transcript-card"), true);
    setShown(byId("untrained"), event.trained === false);
  }

  /**
   * @param {number} frame
   * @param {string} piece
   */
  text(frame, piece) {
    this.announcer.add(piece);
    const atBottom = this.#atBottom();
    if (this.transcript.add(frame, piece)) {
      const at = make("time", { textContent: clock(frame * FRAME_S), className: "numbers" });
      this.words = make("span");
      this.log.append(make("p", { className: "line" }, at, this.words));
      piece = piece.trimStart();
    }
    const span = make("span", { textContent: piece });
    span.dataset.frame = String(frame);
    this.words.append(span);
    if (atBottom) this.log.scrollTop = this.log.scrollHeight;
  }

  /**
   * What the model no longer remembers is dimmed.
   * @param {number} frame of the log, now
   * @param {number} seconds
   */
  rewound(frame, seconds) {
    const atBottom = this.#atBottom();
    const forgotten = this.timeline.back(frame, Math.round(seconds / FRAME_S));
    /** @type {NodeListOf<HTMLElement>} */
    const spans = this.log.querySelectorAll("[data-frame]");
    for (const span of spans) {
      const at = Number(span.dataset.frame);
      if (forgotten.some(([first, end]) => at >= first && at < end)) span.classList.add("undone");
    }
    const back = `Back ${count(Math.max(1, Math.round(seconds)), "second")}`;
    this.log.append(make("p", { className: "mark muted small", textContent: back }));
    this.transcript.break();
    this.announcer.finish();
    if (atBottom) this.log.scrollTop = this.log.scrollHeight;
  }

  #atBottom() {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 60;
  }

  /**
   * @param {number} user 0 … 1
   * @param {number} agent 0 … 1
   */
  levels(user, agent) {
    for (const meter of this.meters.user) meter.style.setProperty("--level", user.toFixed(3));
    for (const meter of this.meters.agent) meter.style.setProperty("--level", agent.toFixed(3));
  }

  /**
   * @param {string} text
   * @param {string | null} url of the review
   * @param {number | undefined} seed
   */
  ended(text, url, seed) {
    this.phase("ended");
    this.announcer.finish();
    setText(byId("status-hint"), text);
    this.kept(url, seed);
    this.focusStatus(); // a second press of End must not start another one
  }

  /**
   * @param {string | null} url of the review
   * @param {number | undefined} seed
   */
  kept(url, seed) {
    setShown(byId("same-seed"), seed !== undefined);
    if (!url) return;
    byId("kept-link", HTMLAnchorElement).href = url;
    setShown(byId("kept"), true);
  }

  /** @param {Problem} problem */
  problem({ code, text, retryable }) {
    this.phase("problem");
    setText(byId("problem-text"), text);
    setText(byId("countdown"), "");
    setShown(byId("retry"), retryable);
    setShown(byId("stop-retry"), false);
    for (const link of byId("problem").querySelectorAll("a[data-problem]")) {
      setShown(/** @type {HTMLElement} */ (link), /** @type {HTMLElement} */ (link).dataset.problem === code);
    }
    setShown(byId("problem"), true);
    setShown(this.start, false);
    setShown(byId("orb-face"), true);
    if (retryable) byId("retry").focus();
  }

  /** @param {number | null} seconds left; null: no more attempts */
  countdown(seconds) {
    setText(byId("countdown"), seconds === null ? "" : `Trying again in ${wait(seconds)}.`);
    setShown(byId("stop-retry"), seconds !== null);
    setText(byId("retry"), seconds === null ? "Try again" : "Try now");
  }
}
