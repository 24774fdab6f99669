// The states of the live page, and which event leads from which state to which: a table and
// a small machine, independent of page, sockets and sound.
//
//   idle → connecting → priming → live → ending → ended
//   connecting ⇄ waiting ⇄ priming
//   live ⇄ rewinding, live ⇄ recovering, live ⇄ resuming ⇄ recovering, rewinding → resuming
//
// From each state of a conversation, `ended` and `failed` lead to `ended` and `problem`; from
// there, as from `idle`, `start` leads to `connecting`. While connecting, waiting and priming
// a conversation can be cancelled; from `live` on it is ended. States that the site announces
// bear the names of docs/protocol.md. Whether the microphone is still asked for, muted, or
// the sound stopped is independent of the state: see phases.js.

/**
 * @typedef {"idle" | "connecting" | "waiting" | "priming" | "live" | "rewinding" | "recovering"
 *   | "resuming" | "ending" | "ended" | "problem"} State
 *
 * `start`, `cancel`, `rewind` and `end` are the user's; `lost` is the connection's; the
 * others are the site's, or say how an attempt came out.
 * @typedef {"start" | "cancel" | "connecting" | "waiting" | "priming" | "ready" | "live"
 *   | "rewind" | "rewound" | "recovering" | "lost" | "resuming" | "end" | "ended"
 *   | "failed"} Event
 */

/** @typedef {Readonly<Partial<Record<Event, State>>>} Transitions by event */

/** @type {Transitions} */
const OVER = { start: "connecting", failed: "problem" };
/** @type {Transitions} */
const OPENING = {
  connecting: "connecting",
  waiting: "waiting",
  priming: "priming",
  ready: "live",
  cancel: "idle",
  ended: "ended",
  failed: "problem",
};
/** @type {Transitions} */
const TALKING = {
  live: "live",
  recovering: "recovering",
  lost: "resuming",
  end: "ending",
  ended: "ended",
  failed: "problem",
};

/** @type {Readonly<Record<State, Transitions>>} */
export const TRANSITIONS = {
  idle: OVER,
  connecting: OPENING,
  waiting: OPENING,
  priming: OPENING,
  live: { ...TALKING, rewind: "rewinding" },
  // The site announces a rewind as `recovering`, and then that it is `live`.
  rewinding: { ...TALKING, recovering: "rewinding", rewound: "live" },
  recovering: { ...TALKING, ready: "live", resuming: "resuming" },
  // It is live again with `ready`, not before.
  resuming: { ...TALKING, live: "resuming", ready: "live", resuming: "resuming" },
  // The answer to `end` is awaited, whatever else comes.
  ending: {
    live: "ending",
    ready: "ending",
    recovering: "ending",
    lost: "ending",
    resuming: "ending",
    ended: "ended",
    failed: "problem",
  },
  ended: OVER,
  problem: OVER,
};

export class IllegalTransition extends Error {
  /**
   * @param {State} state
   * @param {Event} event
   */
  constructor(state, event) {
    super(`no event “${event}” is expected in the state “${state}”`);
    this.name = "IllegalTransition";
  }
}

export class StateMachine {
  /** @type {State} */
  #state = "idle";

  /**
   * @param {(error: IllegalTransition) => void} onIllegal the state stays what it was; the
   *   page reports it like any other error, and its tests fail
   */
  constructor(onIllegal) {
    this.onIllegal = onIllegal;
  }

  get state() {
    return this.#state;
  }

  /** @param {Event} event */
  can(event) {
    return TRANSITIONS[this.#state][event] !== undefined;
  }

  /**
   * Whether the event was legal.
   * @param {Event} event
   */
  send(event) {
    const next = TRANSITIONS[this.#state][event];
    if (next === undefined) {
      this.onIllegal(new IllegalTransition(this.#state, event));
      return false;
    }
    this.#state = next;
    return true;
  }
}
