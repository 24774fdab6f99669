// One live conversation: microphone → link → loudspeaker. It never touches the page, but
// reports to a listener what happens.

/**
 * @import { AudioKind } from "./audio_kinds.js"
 * @import { MicrophonesListener } from "./microphones.js"
 * @import { AgentFrame, EndedEvent, NoticeEvent, Problem } from "./protocol.js"
 * @import { ReadyEvent, RewoundEvent, Sampling } from "./protocol.js"
 * @import { SiteEvent, Start, StateEvent, WaitingEvent } from "./protocol.js"
 * @import { ChosenDevices } from "./sound_panel.js"
 * @import { Playback, PlaybackReport } from "./speaker.js"
 */

import { AUDIO_KINDS } from "./audio_kinds.js";
import { EchoMeter } from "./echo.js";
import { Envelope } from "./envelope.js";
import { LatencyMeter } from "./latency.js";
import { Link } from "./link.js";
import { openMicrophone, stopTracks } from "./microphone.js";
import { pageStats } from "./page_stats.js";
import { AUDIO_FAILED } from "./problems.js";
import { CONTEXT_RATE, CONTEXT_SAMPLES } from "./protocol.js";
import { Sound } from "./sound.js";
import { NO_PLAYBACK } from "./speaker.js";
import { Substitute } from "./substitute.js";
import { Uplink } from "./uplink.js";

const END_ANSWER_MS = 4000; // how long we wait for `ended` after asking for it
const SECOND_MS = 1000;
const STARTED_MS = 3000; // by then the browser should have begun to play

/**
 * Exactly one of `ended` and `problem` is called, once, at the end.
 * @typedef {MicrophonesListener & ConversationEvents} ConversationListener
 * @typedef {object} ConversationEvents
 * @property {(event: StateEvent) => void} state
 * @property {(event: WaitingEvent) => void} waiting
 * @property {(event: ReadyEvent) => void} ready
 * @property {(frame: number, piece: string) => void} text
 * @property {(event: RewoundEvent) => void} rewound
 * @property {(event: NoticeEvent) => void} notice
 * @property {(untilMs: number) => void} lost
 * @property {() => void} echo
 * @property {(paused: boolean, played: boolean) => void} paused played: whether it ever did
 * @property {(event: Pick<EndedEvent, "text" | "url">) => void} ended
 * @property {(problem: Problem) => void} problem
 */

/**
 * @typedef {object} ConversationOptions
 * @property {string} url of the socket
 * @property {() => Promise<boolean>} siteAnswers whether plain HTTP gets through
 * @property {string[]} worklets addresses of the capture and playback worklets
 * @property {string} clock address of worklets/clock.js
 * @property {AudioKind} audio
 * @property {Sampling} sampling what `start` asks for
 * @property {ChosenDevices} devices
 * @property {boolean} withoutMicrophone continue when none can be had
 * @property {ConversationListener} listener
 */

export class LiveConversation {
  muted = false;
  closed = false;
  played = false; // the browser has played sound
  lastPlayed = -1; // seq
  flow = { sent: 0, received: 0, late: 0, dropped: 0 };
  /** @type {Playback} */
  playback = NO_PLAYBACK;
  /** @type {ReadyEvent | null} */
  ready = null; // the newest one
  /** @type {AudioContext | null} */
  context = null;
  /** @type {Uplink | null} */
  uplink = null;
  /** @type {Sound | null} */
  sound = null; // once the worklets are there
  /** @type {number | undefined} */
  second; // timer
  /** @type {number | undefined} */
  endAsked; // timer

  /** @param {ConversationOptions} options */
  constructor({ url, siteAnswers, worklets, clock, audio, sampling, devices, withoutMicrophone, listener }) {
    this.audio = AUDIO_KINDS[audio];
    this.worklets = worklets;
    this.devices = devices;
    this.withoutMicrophone = withoutMicrophone;
    this.listener = listener;
    /** @type {Start} */
    const start = { audio: this.audio.wire };
    if (Object.keys(sampling).length) start.sampling = sampling;
    this.link = new Link({
      url,
      start,
      siteAnswers,
      have: () => this.lastPlayed,
      listener: {
        event: (event) => this.#event(event),
        frame: (frame) => this.#frame(frame),
        lost: (until) => this.listener.lost(until),
        over: (problem) => this.#finish({ problem }),
      },
    });
    this.latency = new LatencyMeter(CONTEXT_RATE);
    this.echo = new EchoMeter();
    this.substitute = new Substitute(clock, (sent, leftOut) => this.#substitute(sent, leftOut));
    this.capturedLevels = new Envelope(CONTEXT_RATE, (bin, power) => this.echo.addCaptured(bin, power));
  }

  /** Call it from a click: the browser lets sound begin only then. */
  async begin() {
    const context = new AudioContext({ sampleRate: CONTEXT_RATE, latencyHint: "interactive" });
    this.context = context;
    context.onstatechange = () => this.#contextChanged();
    this.wake();
    this.uplink = new Uplink({
      link: this.link,
      flow: this.flow,
      makeEncoder: (onPayload, onFailure) => new this.audio.Encoder(onPayload, onFailure),
      onGivenUp: () => this.#finish({ problem: AUDIO_FAILED }),
    });
    // The persona is primed while the browser asks for the microphone.
    this.link.open();
    setTimeout(() => this.#contextChanged(), STARTED_MS);
    const stream = openMicrophone(this.devices.microphone);
    stream.catch(() => {}); // handled below; it may fail before the worklets are there
    try {
      await Promise.all(this.worklets.map((path) => context.audioWorklet.addModule(path)));
    } catch {
      stream.then(stopTracks, () => {});
      this.#finish({ problem: AUDIO_FAILED });
      return;
    }
    if (this.closed) {
      stream.then(stopTracks, () => {});
      return;
    }
    const sound = new Sound(context, this.audio, {
      captured: (samples, end) => this.#captured(samples, end),
      played: (report) => this.#played(report),
      decoderGivenUp: () => this.#finish({ problem: AUDIO_FAILED }),
      microphone: (...taken) => this.#microphoneTaken(...taken),
      silenced: (silenced) => this.listener.silenced(silenced),
      signal: (problem) => this.listener.signal(problem),
    });
    this.sound = sound;
    if (this.devices.loudspeaker) sound.setLoudspeaker(this.devices.loudspeaker).catch(() => {});
    await sound.microphones.take(stream, "first");
  }

  /**
   * Another microphone in mid-conversation; the old one stays where it can't be had.
   * @param {string} deviceId
   */
  async setMicrophone(deviceId) {
    this.devices.microphone = deviceId;
    await this.sound?.microphones.choose(deviceId);
  }

  /** The default microphone in place of one that went away, or of none. */
  async findMicrophone() {
    await this.sound?.microphones.find("again");
  }

  /** @type {MicrophonesListener["microphone"]} */
  #microphoneTaken(microphone, problem, reason) {
    if (problem && reason === "first" && !this.withoutMicrophone) this.#finish({ problem });
    else this.listener.microphone(microphone, problem, reason);
  }

  /**
   * Rejects where the device can't be had.
   * @param {string} deviceId
   */
  async setLoudspeaker(deviceId) {
    await this.sound?.setLoudspeaker(deviceId);
    this.devices.loudspeaker = deviceId;
  }

  /**
   * @param {Float32Array<ArrayBuffer>} samples
   * @param {number} end time after the last of them
   */
  #captured(samples, end) {
    // Sound from before `ready` is dropped, never sent in a burst; nor does the clock begin
    // while the browser still asks for the microphone.
    if (!this.ready || !this.sound?.microphones.asked || !this.uplink) return;
    const { microphones, input } = this.sound;
    const muted = (this.muted || microphones.silenced) && !input.samplePlaying;
    this.capturedLevels.add(samples, end - samples.length);
    if (!muted && !input.samplePlaying) microphones.judge(samples);
    const seq = this.uplink.push(samples, muted);
    if (this.link.live) this.latency.sent(seq, end, performance.now());
  }

  /**
   * Silence in place of the frames that a stopped audio context does not give.
   * @param {number} sent
   * @param {number} leftOut
   */
  #substitute(sent, leftOut) {
    if (!this.ready || !this.sound?.microphones.asked || !this.uplink) return;
    this.uplink.leaveOut(leftOut);
    for (let n = 0; n < sent; n += 1) this.uplink.push(new Float32Array(CONTEXT_SAMPLES), true);
  }

  /** @param {AgentFrame} frame */
  #frame(frame) {
    this.flow.received += 1;
    if (frame.late) this.flow.late += 1;
    if (frame.droppedBefore) this.flow.dropped += 1;
    this.latency.received(frame.seq, frame.pathMs, performance.now());
    // What a stopped loudspeaker can't play is not kept for later.
    if (!this.substitute.running) this.sound?.play(frame);
  }

  /** @param {PlaybackReport} report */
  #played({ playback, played, loudness }) {
    for (const { seq, at } of played) {
      this.latency.played(seq, at);
      this.lastPlayed = Math.max(this.lastPlayed, seq);
    }
    for (const { bin, power } of loudness) this.echo.addPlayed(bin, power);
    this.playback = playback;
  }

  /** @param {SiteEvent} event */
  #event(event) {
    switch (event.type) {
      case "ready":
        this.#ready(event);
        break;
      case "text":
        this.listener.text(event.frame, event.piece);
        break;
      case "rewound":
        this.sound?.reset();
        this.listener.rewound(event);
        break;
      case "state":
        this.listener.state(event);
        break;
      case "waiting":
        this.listener.waiting(event);
        break;
      case "notice":
        this.listener.notice(event);
        break;
      case "error":
        this.#finish({ problem: event });
        break;
      case "ended":
        this.#finish({ ended: event });
        break;
      default: // an event of a later version: nothing that we must know
    }
  }

  /** @param {ReadyEvent} event */
  #ready(event) {
    this.uplink?.from(event.next_seq ?? 0);
    if (this.ready) this.sound?.reset();
    this.second ??= setInterval(() => this.#everySecond(), SECOND_MS);
    this.ready = event;
    this.listener.ready(event);
  }

  #everySecond() {
    if (this.substitute.running) this.wake();
    if (!this.link.live) return;
    if (this.echo.measure() && this.microphone && !this.muted) this.listener.echo();
    this.link.send({ type: "stats", ...pageStats(this, document.hidden) });
  }

  #contextChanged() {
    if (this.closed || !this.context) return;
    const paused = this.context.state !== "running";
    if (paused) this.substitute.start();
    else if (this.substitute.running) {
      this.substitute.stop();
      this.sound?.reset();
    }
    this.listener.paused(paused, this.played);
    this.played ||= !paused;
  }

  /** Asks the browser to continue the sound that it paused; best from a click. */
  wake() {
    if (this.closed || this.context?.state === "running") return;
    this.context?.resume().catch(() => {}); // not yet: the device is still taken
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.muted = muted;
  }

  /** @param {number} seconds */
  rewind(seconds) {
    this.link.send({ type: "rewind", seconds });
  }

  sayAgain() {
    this.link.send({ type: "say_again" });
  }

  /**
   * Plays a recorded question into the conversation, in place of the microphone.
   * @param {ArrayBuffer} bytes
   * @param {() => void} onEnd
   */
  async playSample(bytes, onEnd) {
    const buffer = await this.context?.decodeAudioData(bytes);
    if (this.closed || !this.sound || !buffer) onEnd();
    else this.sound.input.play(buffer, onEnd);
  }

  stopSample() {
    this.sound?.input.stopSample();
  }

  /** The one in use. */
  get microphone() {
    return this.sound?.input.microphone ?? null;
  }

  /** How loud both sides are now, 0 … 1; the user's own voice not while they are muted. */
  levels() {
    if (!this.sound) return { user: 0, agent: 0 };
    const { input, userLevel, agentLevel } = this.sound;
    const audible = !this.muted || input.samplePlaying;
    return { user: audible ? userLevel.read() : 0, agent: agentLevel.read() };
  }

  /** Gives up the place in the queue. */
  leave() {
    this.link.send({ type: "leave" });
    this.close();
  }

  /** Asks the site to end it; `ended` follows. */
  end() {
    if (this.closed || this.endAsked) return;
    const ended = { text: "You ended the conversation" };
    if (!this.link.live) {
      this.#finish({ ended }); // the site can't be asked, and soon ends it by itself
      return;
    }
    this.endAsked = setTimeout(() => this.#finish({ ended }), END_ANSWER_MS);
    this.link.send({ type: "end" });
  }

  /** Latency now and what it is made of, or null. */
  latencyNow() {
    return this.latency.summary((this.sound?.delayMs ?? 0) + this.audio.delayMs);
  }

  /** @param {{ ended: Pick<EndedEvent, "text" | "url"> } | { problem: Problem }} outcome */
  #finish(outcome) {
    if (this.closed) return;
    this.close();
    if ("ended" in outcome) this.listener.ended(outcome.ended);
    else this.listener.problem(outcome.problem);
  }

  /** Closes everything, without calling the listener. */
  close() {
    this.closed = true;
    clearTimeout(this.endAsked);
    clearInterval(this.second);
    this.substitute.stop();
    this.link.close();
    this.uplink?.close();
    this.sound?.close();
    this.context?.close();
  }
}
