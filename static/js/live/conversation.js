// One live conversation: microphone → link → loudspeaker. Knows no page: it tells a
// listener what happens.

import { AUDIO_KINDS } from "./audio_kinds.js";
import { EchoMeter } from "./echo.js";
import { Envelope } from "./envelope.js";
import { Hearing } from "./hearing.js";
import { LatencyMeter } from "./latency.js";
import { Level } from "./level.js";
import { Link } from "./link.js";
import { Microphone, openMicrophone, stopTracks } from "./microphone.js";
import { pageStats } from "./page_stats.js";
import { AUDIO_FAILED, microphoneProblem } from "./problems.js";
import { CONTEXT_RATE, CONTEXT_SAMPLES } from "./protocol.js";
import { RestartingCodec } from "./restarting_codec.js";
import { Speaker } from "./speaker.js";
import { Substitute } from "./substitute.js";
import { Uplink } from "./uplink.js";
import { UserInput } from "./user_input.js";

const END_ANSWER_MS = 4000; // how long we wait for `ended` after asking for it
const SECOND_MS = 1000;
const STARTED_MS = 3000; // by then the browser should have begun to play

export class LiveConversation {
  /**
   * `sampling`: what `start` asks for. `devices`: { microphone, loudspeaker } ids, "" for
   * the default. `withoutMicrophone`: go on when none can be had. `listener`: { state(event),
   * waiting(event), microphone(label or null, problem or null, reason), silenced(bool),
   * hearing(problem of hearing.js or null), ready(event), text(frame, piece),
   * rewound(event), notice(event), lost(untilMs), echo(), paused(bool, whether it has
   * played before), ended(event), problem(problem) }; exactly one of the last two is
   * called, once, at the end.
   */
  constructor({ url, siteAnswers, worklets, clock, audio, sampling, devices, withoutMicrophone, listener }) {
    this.audio = AUDIO_KINDS[audio];
    this.start = { audio: this.audio.wire };
    if (Object.keys(sampling).length) this.start.sampling = sampling;
    Object.assign(this, { url, siteAnswers, worklets, devices, withoutMicrophone, listener });
    this.muted = false;
    this.lastPlayed = -1;
    this.flow = { sent: 0, received: 0, late: 0, dropped: 0 };
    this.playback = { depthMs: 0, jitterMs: 0, underruns: 0, stretchedMs: 0, skippedMs: 0 };
    this.latency = new LatencyMeter(CONTEXT_RATE);
    this.echo = new EchoMeter();
    this.hearing = new Hearing((problem) => this.listener.hearing(problem));
    this.substitute = new Substitute(clock, (sent, leftOut) => this.#substitute(sent, leftOut));
    this.heardLevels = new Envelope(CONTEXT_RATE, (bin, power) => this.echo.addHeard(bin, power));
  }

  /** Call it from a click: the browser lets sound begin only then. */
  async begin() {
    this.context = new AudioContext({ sampleRate: CONTEXT_RATE, latencyHint: "interactive" });
    this.context.onstatechange = () => this.#contextChanged();
    this.wake();
    // The persona is primed while the browser asks for the microphone.
    this.link = new Link({
      siteAnswers: this.siteAnswers,
      url: this.url,
      start: this.start,
      have: () => this.lastPlayed,
      listener: {
        event: (event) => this.#event(event),
        frame: (frame) => this.#frame(frame),
        lost: (until) => this.listener.lost(until),
        over: (problem) => this.#finish("problem", problem),
      },
    });
    const giveUp = () => this.#finish("problem", AUDIO_FAILED);
    const makeEncoder = (send) => new RestartingCodec((failed) => new this.audio.Encoder(send, failed), giveUp);
    this.uplink = new Uplink({ link: this.link, flow: this.flow, makeEncoder });
    this.link.open();
    setTimeout(() => this.#contextChanged(), STARTED_MS);
    const stream = openMicrophone(this.devices.microphone);
    stream.catch(() => {}); // handled below; it may fail before the worklets are there
    try {
      await Promise.all(this.worklets.map((path) => this.context.audioWorklet.addModule(path)));
    } catch {
      stream.then(stopTracks, () => {});
      this.#finish("problem", AUDIO_FAILED);
      return;
    }
    if (this.closed) return stream.then(stopTracks, () => {});
    this.#openSpeaker();
    this.#openInput();
    await this.#takeMicrophone(stream, "first");
  }

  #openSpeaker() {
    this.speaker = new Speaker(this.context, (report) => this.#played(report));
    this.agentLevel = new Level(this.speaker.meter);
    const play = (samples, seq) => this.speaker.play(samples, seq);
    const giveUp = () => this.#finish("problem", AUDIO_FAILED);
    this.decoder = new RestartingCodec((failed) => new this.audio.Decoder(play, failed), giveUp);
    if (this.devices.loudspeaker) this.setLoudspeaker(this.devices.loudspeaker).catch(() => {});
  }

  #openInput() {
    this.input = new UserInput(this.context, (samples, end) => this.#captured(samples, end));
    this.userLevel = new Level(this.input.meter);
  }

  // `reason`: "first", "chosen", "lost" or "again". Without a microphone the user is silent.
  async #takeMicrophone(opening, reason) {
    let stream = null;
    try {
      stream = await opening;
      if (this.closed) return stopTracks(stream);
      const listener = {
        lost: () => this.findMicrophone("lost"),
        silenced: (silenced) => this.#silenced(silenced),
      };
      this.input.set(new Microphone(this.context, stream, listener));
      this.hearing.reset();
      this.#silenced(false);
      this.microphoneAsked = true;
      this.listener.microphone(this.input.microphone, null, reason);
    } catch (error) {
      if (stream) stopTracks(stream);
      if (this.closed) return;
      const problem = microphoneProblem(error);
      if (reason === "first" && !this.withoutMicrophone) {
        this.#finish("problem", problem);
        return;
      }
      this.microphoneAsked = true;
      this.listener.microphone(this.input.microphone ?? null, problem, reason);
    }
  }

  /** Another microphone in mid-conversation; the old one stays where it can't be had. */
  setMicrophone(deviceId) {
    this.devices.microphone = deviceId;
    return this.#takeMicrophone(openMicrophone(deviceId), "chosen");
  }

  /** The default microphone in place of one that went away, or of none. */
  findMicrophone(reason) {
    this.input.set(null);
    this.hearing.reset();
    return this.#takeMicrophone(openMicrophone(""), reason);
  }

  /** Rejects where the device can't be had. */
  async setLoudspeaker(deviceId) {
    await this.context.setSinkId?.(deviceId);
    this.devices.loudspeaker = deviceId;
  }

  #captured(samples, end) {
    // What was said before `ready` is dropped, never burst; nor does the clock begin
    // while the browser still asks for the microphone.
    if (!this.ready || !this.microphoneAsked) return;
    const playing = this.input.samplePlaying;
    const muted = (this.muted || this.silenced) && !playing;
    this.heardLevels.add(samples, end - samples.length);
    if (!muted && !playing && this.input.microphone) this.hearing.add(samples);
    const seq = this.uplink.push(samples, muted);
    if (this.link.live) this.latency.sent(seq, end, performance.now());
  }

  // Silence in place of the frames that a stopped audio context does not give.
  #substitute(sent, leftOut) {
    if (!this.ready || !this.microphoneAsked) return;
    this.uplink.leaveOut(leftOut);
    for (let n = 0; n < sent; n += 1) this.uplink.push(new Float32Array(CONTEXT_SAMPLES), true);
  }

  #silenced(silenced) {
    this.silenced = silenced;
    this.listener.silenced(silenced);
  }

  #frame(frame) {
    this.flow.received += 1;
    if (frame.late) this.flow.late += 1;
    if (frame.droppedBefore) this.flow.dropped += 1;
    this.latency.received(frame.seq, frame.pathMs, performance.now());
    // What a stopped loudspeaker can't play is not kept for later.
    if (!this.substitute.running) this.decoder?.run("decode", frame.payload, frame.seq);
  }

  #played(report) {
    for (const { seq, at } of report.played) {
      this.latency.played(seq, at);
      this.lastPlayed = Math.max(this.lastPlayed, seq);
    }
    for (const { bin, power } of report.loudness) this.echo.addPlayed(bin, power);
    this.playback = report;
  }

  #event(event) {
    switch (event.type) {
      case "ready":
        this.#ready(event);
        break;
      case "text":
        this.listener.text(event.frame, event.piece);
        break;
      case "rewound":
        this.speaker?.reset();
        this.listener.rewound(event);
        break;
      case "state":
      case "waiting":
      case "notice":
        this.listener[event.type](event);
        break;
      case "error":
        this.#finish("problem", event);
        break;
      case "ended":
        this.#finish("ended", event);
        break;
      default: // an event of a later version: nothing that we must know
    }
  }

  #ready(event) {
    this.uplink.from(event.next_seq ?? 0);
    if (this.ready) this.speaker?.reset();
    this.second ??= setInterval(() => this.#everySecond(), SECOND_MS);
    this.ready = event;
    this.listener.ready(event);
  }

  #everySecond() {
    if (this.substitute.running) this.wake();
    if (!this.link.live) return;
    if (this.echo.measure() && this.input?.microphone && !this.muted) this.listener.echo();
    this.link.send({ type: "stats", ...pageStats(this, document.hidden) });
  }

  #contextChanged() {
    if (this.closed) return;
    const paused = this.context.state !== "running";
    if (paused) this.substitute.start();
    else if (this.substitute.running) {
      this.substitute.stop();
      this.speaker?.reset();
    }
    this.listener.paused(paused, Boolean(this.played));
    this.played ||= !paused;
  }

  /** Lets the sound go on where the browser paused it; best from a click. */
  wake() {
    if (this.closed || this.context?.state === "running") return;
    this.context?.resume().catch(() => {}); // not yet: the device is still taken
  }

  setMuted(muted) {
    this.muted = muted;
  }

  rewind(seconds) {
    this.link.send({ type: "rewind", seconds });
  }

  sayAgain() {
    this.link.send({ type: "say_again" });
  }

  /** Plays a recorded question into the conversation, in place of the microphone. */
  async playSample(bytes, onEnd) {
    const buffer = await this.context.decodeAudioData(bytes);
    if (this.closed || !this.input) return onEnd();
    this.input.play(buffer, onEnd);
  }

  /** Gives up the place in the queue. */
  leave() {
    this.link.send({ type: "leave" });
    this.close();
  }

  /** Asks the site to end it; `ended` follows. */
  end() {
    if (this.closed || this.endAsked) return;
    const ended = { reason: "user_ended", text: "You ended the conversation" };
    if (!this.link.live) {
      this.#finish("ended", ended); // nobody to ask: the site ends it by itself soon
      return;
    }
    this.endAsked = setTimeout(() => this.#finish("ended", ended), END_ANSWER_MS);
    this.link.send({ type: "end" });
  }

  /** Latency now and what it is made of, or null. */
  latencyNow() {
    const devices = (this.input?.delayMs ?? 0) + (this.speaker?.delayMs ?? 0);
    return this.latency.summary(devices + this.audio.delayMs);
  }

  #finish(how, what) {
    if (this.closed) return;
    this.close();
    this.listener[how](what);
  }

  /** Lets go of everything, tells nobody. */
  close() {
    this.closed = true;
    clearTimeout(this.endAsked);
    clearInterval(this.second);
    this.substitute.stop();
    this.link?.close();
    this.input?.close();
    this.speaker?.close();
    this.uplink?.close();
    this.decoder?.close();
    this.context?.close();
  }
}
