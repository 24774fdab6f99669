// One live conversation: microphone → socket → loudspeaker. Knows no page: it tells a
// listener what happens.

import { AUDIO_KINDS } from "./audio_kinds.js";
import { LatencyMeter } from "./latency.js";
import { Level } from "./level.js";
import { Microphone, openMicrophone } from "./microphone.js";
import { AUDIO_FAILED, MICROPHONE_LOST, closeProblem, microphoneProblem } from "./problems.js";
import { CONTEXT_RATE } from "./protocol.js";
import { ConversationSocket } from "./socket.js";
import { Speaker } from "./speaker.js";

const END_ANSWER_MS = 4000; // how long we wait for `ended` after asking for it

export class LiveConversation {
  /**
   * `listener`: { state(name), microphoneOpen(), ready(event), text(frame, piece),
   * ended(event), problem(problem) }; exactly one of the last two is called, once, at
   * the end.
   */
  constructor({ url, worklets, audio, listener }) {
    this.audio = AUDIO_KINDS[audio];
    this.start = { audio };
    this.url = url;
    this.worklets = worklets;
    this.listener = listener;
    this.muted = false;
    this.seq = 0; // of the next microphone frame
    this.flow = { sent: 0, received: 0, late: 0, dropped: 0 };
    this.playback = { depthMs: 0, targetMs: 0, underruns: 0, droppedMs: 0 };
    this.mutedFrames = new Set(); // seqs inside the encoder that were muted
    this.latency = new LatencyMeter(CONTEXT_RATE);
  }

  /** Call it from a click: the browser lets sound begin only then. */
  async begin() {
    this.context = new AudioContext({ sampleRate: CONTEXT_RATE, latencyHint: "interactive" });
    this.context.resume();
    // The persona is primed while the browser asks for the microphone.
    this.socket = new ConversationSocket(this.url, this.start, {
      event: (event) => this.#event(event),
      frame: (frame) => this.#frame(frame),
      closed: (code) => this.#finish("problem", closeProblem(code, this.live)),
    });
    const stream = openMicrophone();
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
    await this.#openMicrophone(stream);
  }

  #openSpeaker() {
    this.speaker = new Speaker(this.context, (report) => this.#played(report));
    this.agentLevel = new Level(this.speaker.meter);
    const play = (samples, seq) => this.speaker.play(samples, seq);
    this.decoder = new this.audio.Decoder(play, () => this.#finish("problem", AUDIO_FAILED));
  }

  async #openMicrophone(opening) {
    let stream;
    try {
      stream = await opening;
    } catch (error) {
      this.#finish("problem", microphoneProblem(error));
      return;
    }
    if (this.closed) {
      stopTracks(stream);
      return;
    }
    this.encoder = new this.audio.Encoder(
      (payload, seq) => this.#send(payload, seq),
      () => this.#finish("problem", AUDIO_FAILED),
    );
    try {
      this.microphone = new Microphone(
        this.context,
        stream,
        (samples, end) => this.#captured(samples, end),
        () => this.#finish("problem", MICROPHONE_LOST),
      );
    } catch (error) {
      stopTracks(stream);
      this.#finish("problem", microphoneProblem(error));
      return;
    }
    this.userLevel = new Level(this.microphone.meter);
    this.listener.microphoneOpen();
  }

  #captured(samples, end) {
    if (!this.live) return; // what was said before `ready` is dropped, never burst
    const seq = this.seq;
    this.seq += 1;
    if (this.muted) {
      samples.fill(0);
      this.mutedFrames.add(seq);
    }
    this.latency.sent(seq, end, performance.now());
    if (!this.encoder.encode(samples, seq)) this.flow.dropped += 1;
  }

  #send(payload, seq) {
    const muted = this.mutedFrames.delete(seq);
    if (this.closed) return;
    if (this.socket.sendFrame(this.encoder.kind, seq, payload, muted)) this.flow.sent += 1;
    else this.flow.dropped += 1;
  }

  #frame(frame) {
    this.flow.received += 1;
    if (frame.late) this.flow.late += 1;
    if (frame.droppedBefore) this.flow.dropped += 1;
    this.latency.received(frame.seq, frame.pathMs, performance.now());
    this.decoder?.decode(frame.payload, frame.seq);
  }

  #played(report) {
    for (const { seq, at } of report.played) this.latency.played(seq, at);
    this.playback = report;
  }

  #event(event) {
    switch (event.type) {
      case "state":
        this.listener.state(event.state);
        break;
      case "ready":
        this.ready = event;
        this.live = true;
        this.listener.ready(event);
        break;
      case "text":
        this.listener.text(event.frame, event.piece);
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

  setMuted(muted) {
    this.muted = muted;
  }

  /** Asks the site to end it; `ended` follows. */
  end() {
    if (this.closed || this.endAsked) return;
    this.endAsked = setTimeout(
      () => this.#finish("ended", { reason: "user_ended", text: "You ended the conversation" }),
      END_ANSWER_MS,
    );
    this.socket.send({ type: "end" });
  }

  /** Latency now and what it is made of, or null. */
  latencyNow() {
    const devices = (this.microphone?.delayMs ?? 0) + (this.speaker?.delayMs ?? 0);
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
    this.socket?.close();
    this.microphone?.close();
    this.speaker?.close();
    this.encoder?.close();
    this.decoder?.close();
    this.context?.close();
  }
}

function stopTracks(stream) {
  for (const track of stream.getTracks()) track.stop();
}
