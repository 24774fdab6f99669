// Everything that the live page shows. Knows nothing of sockets and sound: it is told.

import { byId, make, setShown, setText } from "../shared/dom.js";
import { clock, milliseconds, wait } from "../shared/format.js";
import { BUSY, SPEAKING, describe, memoryLeft } from "./phases.js";
import { Transcript } from "./transcript.js";

const FRAME_S = 0.08;

export class LiveView {
  constructor(name) {
    this.name = name;
    this.talk = byId("talk");
    this.start = byId("start");
    this.mute = byId("mute");
    this.end = byId("end");
    this.log = byId("transcript");
    this.transcript = new Transcript();
  }

  phase(phase) {
    const { status, hint } = describe(phase, this.name);
    this.talk.dataset.phase = phase;
    setText(byId("status"), status);
    setText(byId("status-hint"), hint);
    setShown(this.start, !BUSY.has(phase));
    setShown(byId("orb-face"), BUSY.has(phase));
    setShown(byId("controls"), BUSY.has(phase));
    setShown(byId("before"), phase === "idle");
    setShown(byId("meters"), SPEAKING.has(phase));
    setText(byId("start-label"), phase === "ended" ? "Talk again" : `Talk to ${this.name}`);
    setText(byId("end-label"), SPEAKING.has(phase) ? "End" : "Cancel");
    this.mute.disabled = !SPEAKING.has(phase);
    this.#muted(phase === "muted");
  }

  #muted(muted) {
    this.mute.setAttribute("aria-pressed", String(muted));
    setText(byId("mute-label"), muted ? "Unmute" : "Mute");
  }

  /** Clears what an earlier conversation left. */
  fresh() {
    this.transcript = new Transcript();
    this.log.replaceChildren();
    setShown(byId("problem"), false);
    setShown(byId("kept"), false);
    setShown(byId("facts"), false);
    setShown(byId("transcript-card"), false);
  }

  ready(event) {
    setShown(byId("facts"), true);
    setShown(byId("transcript-card"), true);
    setShown(byId("untrained"), event.trained === false);
  }

  text(frame, piece) {
    const atBottom = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 60;
    if (this.transcript.add(frame, piece)) {
      const at = make("time", { textContent: clock(frame * FRAME_S), className: "numbers" });
      this.words = make("span", { textContent: this.transcript.last.text });
      this.log.append(make("p", { className: "line" }, at, this.words));
    } else {
      this.words.append(piece);
    }
    if (atBottom) this.log.scrollTop = this.log.scrollHeight;
  }

  /** Levels are 0 … 1. */
  levels(user, agent) {
    this.talk.style.setProperty("--user-level", user.toFixed(3));
    this.talk.style.setProperty("--agent-level", agent.toFixed(3));
  }

  facts({ elapsed, contextSeconds, latency, flow, playback }) {
    setText(byId("elapsed"), clock(elapsed));
    setText(byId("memory"), memoryLeft(contextSeconds, elapsed));
    setText(byId("late"), String(flow.late));
    setText(byId("dropped"), String(flow.dropped));
    setText(byId("underruns"), String(playback.underruns));
    setText(byId("skipped"), milliseconds(playback.droppedMs));
    if (!latency) return;
    setText(byId("latency"), milliseconds(latency.totalMs));
    setText(byId("latency-trip"), milliseconds(Math.max(0, latency.tripMs - latency.pathMs)));
    setText(byId("latency-path"), milliseconds(latency.pathMs));
    setText(byId("latency-buffer"), milliseconds(latency.bufferMs));
    setText(byId("latency-device"), milliseconds(latency.deviceMs));
  }

  ended(text, url) {
    this.phase("ended");
    setText(byId("status-hint"), text);
    this.kept(url);
    this.start.focus();
  }

  kept(url) {
    if (!url) return;
    byId("kept-link").href = url;
    setShown(byId("kept"), true);
  }

  problem({ text, retryable }) {
    this.phase("problem");
    setText(byId("problem-text"), text);
    setText(byId("countdown"), "");
    setShown(byId("retry"), retryable);
    setShown(byId("stop-retry"), false);
    setShown(byId("problem"), true);
    setShown(this.start, false);
    setShown(byId("orb-face"), true);
    if (retryable) byId("retry").focus();
  }

  countdown(seconds) {
    setText(byId("countdown"), seconds === null ? "" : `Trying again in ${wait(seconds)}.`);
    setShown(byId("stop-retry"), seconds !== null);
    setText(byId("retry"), seconds === null ? "Try again" : "Try now");
  }
}
