// The live page's controller: passes what the user does and what happens in a conversation
// to the state machine, and shows each state. View, conversation and everything else of the
// browser are passed in, so that it runs without one.

/**
 * @import { ConversationListener, LiveConversation } from "./conversation.js"
 * @import { Devices } from "./devices.js"
 * @import { Facts } from "./facts.js"
 * @import { Texts } from "./notes.js"
 * @import { Notices } from "./notices.js"
 * @import { EndedEvent, Problem, ReadyEvent, Sampling, StateEvent, WaitingEvent } from "./protocol.js"
 * @import { SamplesPanel } from "./samples_panel.js"
 * @import { State } from "./states.js"
 * @import { LiveView } from "./view.js"
 */

import { Details } from "./details.js";
import { microphoneNotice, signalNotice, siteNotice } from "./notes.js";
import { SPEAKING, phaseOf } from "./phases.js";
import { Retry } from "./retry.js";
import { StateMachine } from "./states.js";

const REWIND_MS = 15_000; // after that the buttons work again, whatever the site did
const NOT_REWOUND = new Set(["rewind_impossible", "nothing_said", "busy"]); // notices
const PRIMING_MS = 700; // longer than it takes to learn that there is no place yet
const FACTS_MS = 250;
const LEVELS_MS = 40; // each drawing costs, most where no GPU draws
const PAUSED_MS = 500; // a pause of the sound that is worth a notice

/** @type {ReadonlySet<State>} */
const STARTED = new Set(["live", "rewinding", "recovering", "resuming"]);

/**
 * @typedef {object} Parts
 * @property {LiveView} view
 * @property {Notices} notices
 * @property {Texts} texts
 * @property {{ waiting(position: number): void, call(text: string): void, clear(): void }} title
 * @property {{ hold(): void, release(): void }} wakeLock
 * @property {Pick<Devices, "microphone" | "findMicrophone" | "choose" | "retry">} devices
 * @property {Pick<SamplesPanel, "open" | "enable">} samples
 * @property {() => Sampling} askedSampling what the sampling panel asks for now
 * @property {() => Problem | null} browserProblem
 * @property {(sampling: Sampling, listener: ConversationListener) => Promise<LiveConversation>} makeConversation
 * @property {(id: string) => string} reviewUrl
 * @property {(facts: Facts) => void} showFacts
 * @property {(conversation: LiveConversation) => void} ring
 */

export class LiveController {
  /** @type {LiveConversation | null} */
  conversation = null;
  /** @type {(Sampling & { seed: number }) | undefined} */
  applied; // in the newest conversation
  #details = new Details();

  /**
   * @param {Parts} parts
   * @param {StateMachine["onIllegal"]} onIllegal
   */
  constructor(parts, onIllegal) {
    this.parts = parts;
    this.machine = new StateMachine(onIllegal);
    this.retry = new Retry((left) => parts.view.countdown(left), () => this.begin());
    const problem = parts.browserProblem();
    if (problem) this.#refuse(problem);
    else this.#show();
  }

  // What the user does

  async begin(sampling = this.parts.askedSampling()) {
    const { view, notices, browserProblem, makeConversation } = this.parts;
    this.retry.stop();
    if (!this.machine.can("start")) return;
    const problem = browserProblem();
    if (problem) {
      this.#refuse(problem);
      return;
    }
    this.machine.send("start");
    this.#details = new Details();
    view.fresh();
    notices.clear();
    this.#show();
    view.focusStatus(); // a second press of Enter must not end it
    const conversation = await makeConversation(sampling, this.#listener());
    if (this.machine.state !== "connecting" || this.conversation) return; // cancelled
    this.conversation = conversation;
    conversation.begin();
  }

  /** Ends the conversation, or gives up before it began. */
  end() {
    const { view } = this.parts;
    if (this.machine.can("end")) {
      this.machine.send("end");
      this.#show();
      this.conversation?.end();
    } else if (this.machine.can("cancel")) {
      this.conversation?.leave();
      this.#close("cancel");
      this.#show();
      view.start.focus();
    }
  }

  toggleMute() {
    if (!STARTED.has(this.machine.state)) return;
    this.#details.muted = !this.#details.muted;
    this.conversation?.setMuted(this.#details.muted);
    this.#show();
  }

  /** @param {number} seconds */
  rewind(seconds) {
    this.#goBack((conversation) => conversation.rewind(seconds));
  }

  sayAgain() {
    this.#goBack((conversation) => conversation.sayAgain());
  }

  /** @param {(conversation: LiveConversation) => void} ask */
  #goBack(ask) {
    if (!this.#speaking || !this.conversation?.ready?.rewinds) return;
    ask(this.conversation);
    this.machine.send("rewind");
    this.#details.rewindTimer = setTimeout(() => this.#rewound(), REWIND_MS);
    this.#show();
  }

  /** The page is left: the site ends the conversation as "the page was closed". */
  leavePage() {
    this.conversation?.close();
  }

  /** The browser shows the page again as it was when it was left. */
  comeBack() {
    if (this.conversation) this.#ended({ text: "The page was left." });
  }

  // What happens in the conversation

  /** @returns {ConversationListener} */
  #listener() {
    const { view, notices, texts, devices } = this.parts;
    return {
      state: (event) => this.#siteState(event),
      waiting: (event) => this.#waiting(event),
      microphone: (microphone, problem, reason) => {
        this.#details.microphone = microphone ? "open" : "none";
        devices.microphone(microphone, problem);
        const again = () => devices.findMicrophone();
        notices.replace("microphone", microphoneNotice(texts, { microphone, problem, reason }, again));
        if (!microphone) this.parts.samples.open();
        this.#show();
      },
      silenced: (silenced) =>
        notices.replace("silenced", silenced ? { code: "silenced", text: texts.silenced } : null),
      signal: (problem) => {
        this.#details.signal = problem;
        const { microphone = null } = this.conversation ?? {};
        notices.replace("signal", signalNotice(texts, problem, microphone, () => devices.choose()));
        this.#show();
      },
      ready: (event) => this.#ready(event),
      text: (frame, piece) => view.text(frame, piece),
      rewound: (event) => {
        view.rewound(event.frame, event.seconds);
        this.#setContext(event.context_seconds);
        this.#rewound();
      },
      notice: (event) => {
        notices.show(siteNotice(event));
        if (NOT_REWOUND.has(event.code)) this.#rewound();
      },
      lost: (until) => {
        clearTimeout(this.#details.rewindTimer);
        this.#details.keptUntil = until;
        this.#details.lostAt ??= performance.now();
        this.machine.send("lost");
        this.#show();
      },
      echo: () => {
        if (this.#details.echoNoticed) return;
        this.#details.echoNoticed = true;
        notices.show({ code: "echo", text: texts.echo });
      },
      paused: (paused, played) => this.#paused(paused, played),
      ended: (event) => this.#ended(event),
      problem: (problem) => this.#failed(problem),
    };
  }

  /** @param {StateEvent} event */
  #siteState({ state, seconds }) {
    clearTimeout(this.#details.primingTimer);
    const enter = () => {
      this.#details.expected = seconds;
      this.machine.send(state);
      this.#show();
    };
    // The site asks for a place now and then: "priming" counts once it lasts.
    if (state === "priming" && this.machine.state === "waiting") {
      this.#details.primingTimer = setTimeout(enter, PRIMING_MS);
    } else enter();
  }

  /** @param {WaitingEvent} event */
  #waiting(event) {
    clearTimeout(this.#details.primingTimer);
    this.#details.place = event;
    this.machine.send("waiting");
    this.parts.title.waiting(event.position);
    this.#show();
  }

  /** @param {ReadyEvent} event */
  #ready(event) {
    const { view, wakeLock } = this.parts;
    const first = this.#details.liveSince === null;
    this.#details.found();
    clearTimeout(this.#details.primingTimer);
    if (first && this.#details.place) this.#call();
    this.applied = { ...event.sampling, seed: event.seed };
    this.machine.send("ready");
    this.#setContext(event.context_seconds);
    view.ready(event);
    this.#show();
    if (!first) return;
    this.#details.liveSince = performance.now();
    wakeLock.hold();
    this.#details.factsTimer = setInterval(() => this.#tick(), FACTS_MS);
    this.#details.levelsTimer = setInterval(() => this.#showLevels(), LEVELS_MS);
    this.#tick();
  }

  /** The user has waited in the queue, and it is their turn. */
  #call() {
    const { ring, title, texts } = this.parts;
    if (this.conversation) ring(this.conversation);
    title.call(texts.yourTurn);
  }

  /** The site went back, refused to, or takes too long. */
  #rewound() {
    clearTimeout(this.#details.rewindTimer);
    if (this.machine.state !== "rewinding") return;
    this.machine.send("rewound");
    this.#show();
  }

  /**
   * @param {boolean} paused
   * @param {boolean} played
   */
  #paused(paused, played) {
    const { notices, texts, devices } = this.parts;
    notices.hide("paused");
    clearTimeout(this.#details.pausedTimer);
    if (paused) {
      const text = played ? texts.interrupted : texts.paused;
      this.#details.pausedTimer = setTimeout(() => {
        this.#details.paused = true;
        const action = { label: "Continue", run: () => this.conversation?.wake() };
        notices.show({ code: "paused", text, action });
        this.#show();
      }, PAUSED_MS);
      this.conversation?.wake();
    } else if (this.#details.paused) {
      this.#details.paused = false;
      devices.retry(); // a call takes the microphone, too
      this.#show();
    }
  }

  /** @param {Pick<EndedEvent, "text" | "url">} event */
  #ended({ text, url }) {
    const kept = url ?? this.#reviewUrl();
    this.#close("ended");
    this.parts.view.ended(text, kept, this.applied?.seed);
  }

  /** @param {Problem} problem */
  #failed(problem) {
    const kept = this.#reviewUrl();
    this.#close("failed");
    this.parts.view.problem(problem);
    this.parts.view.kept(kept, undefined);
    if (problem.retryable && problem.retry_after_s) this.retry.start(problem.retry_after_s);
  }

  /**
   * Without a conversation: this browser can't have one.
   * @param {Problem} problem
   */
  #refuse(problem) {
    this.machine.send("failed");
    this.parts.view.problem(problem);
  }

  /**
   * The conversation is over.
   * @param {"cancel" | "ended" | "failed"} event
   */
  #close(event) {
    const { view, wakeLock, title, notices, samples } = this.parts;
    if (this.#details.liveSince !== null) this.#tick();
    this.#details.stopTimers();
    this.machine.send(event);
    this.conversation = null;
    this.#details = new Details();
    wakeLock.release();
    title.clear();
    notices.clear();
    view.levels(0, 0);
    view.again(false, true);
    samples.enable(false);
  }

  #reviewUrl() {
    const id = this.conversation?.ready?.conversation;
    return id ? this.parts.reviewUrl(id) : null;
  }

  // What the page shows

  get #phase() {
    const { microphone, muted, paused } = this.#details;
    return phaseOf(this.machine.state, { asking: microphone === "asking", muted, paused });
  }

  /** The user can speak and be heard, but for being muted. */
  get #speaking() {
    return this.#phase === "live" || this.#phase === "muted";
  }

  #show() {
    const { place, keptUntil, expected, microphone, muted, signal } = this.#details;
    const { state } = this.machine;
    const { view, samples } = this.parts;
    view.phase(this.#phase, {
      place,
      seconds: state === "resuming" ? Math.max(0, (keptUntil - Date.now()) / 1000) : expected,
      silent: microphone === "none",
      muted,
      rewinding: state === "rewinding",
      signal,
    });
    const rewinds = Boolean(this.conversation?.ready?.rewinds);
    view.again(SPEAKING.has(this.#phase) && rewinds, !this.#speaking);
    samples.enable(this.#speaking);
  }

  /** @param {number} seconds that are left of the model's context now */
  #setContext(seconds) {
    this.#details.context = { seconds, at: performance.now() };
  }

  #tick() {
    const { liveSince, context } = this.#details;
    if (!this.conversation?.ready || liveSince === null) return;
    const now = this.#details.now();
    this.parts.showFacts({
      elapsed: (now - liveSince) / 1000,
      sinceReady: (now - context.at) / 1000,
      context: context.seconds,
      ready: this.conversation.ready,
      conversation: this.conversation,
    });
    if (this.machine.state === "resuming") this.#show(); // the seconds left
  }

  #showLevels() {
    const levels = this.#details.paused ? null : this.conversation?.levels();
    this.parts.view.levels(levels?.user ?? 0, levels?.agent ?? 0);
  }
}
