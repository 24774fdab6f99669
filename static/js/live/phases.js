// The phases of the live page, which are its looks, and the texts for each; view.js shows
// them.
//
// A phase is a state of states.js, with three exceptions. `permission` stands in place of
// priming, live and recovering while the browser still asks for the microphone. `live` is
// `paused` while the browser has stopped the sound, else `muted` while the user is. And
// rewinding looks like recovering.

/**
 * @import { SignalProblem } from "./microphone_signal.js"
 * @import { QueuePosition, ReadyEvent } from "./protocol.js"
 * @import { State } from "./states.js"
 */

/** @typedef {Exclude<State, "rewinding"> | "permission" | "paused" | "muted"} Phase */

/**
 * @typedef {object} PhaseDetail
 * @property {QueuePosition | null} [place]
 * @property {number} [seconds] left, or expected
 * @property {boolean} [silent] there is no microphone
 * @property {boolean} [muted]
 * @property {boolean} [rewinding]
 * @property {SignalProblem | null} [signal]
 */

import { count, wait } from "../shared/format.js";

/** @type {ReadonlySet<Phase>} */
export const BUSY = new Set([
  "connecting",
  "waiting",
  "permission",
  "priming",
  "live",
  "muted",
  "paused",
  "resuming",
  "recovering",
  "ending",
]);
/** @type {ReadonlySet<Phase>} */
export const SPEAKING = new Set(["live", "muted", "paused", "resuming", "recovering", "ending"]);

/** @type {Record<SignalProblem, { status: string, hint: string }>} */
const SIGNAL = {
  silent: { status: "Live, but nothing is heard", hint: "Your microphone sends silence." },
  quiet: { status: "Live, but you are hardly heard", hint: "Speak up, or check the microphone." },
  overdriven: { status: "Live, but you are too loud", hint: "Your microphone is overdriven." },
};

/**
 * @param {Phase} phase
 * @param {string} name of the persona
 * @param {PhaseDetail} detail
 */
export function describe(phase, name, detail = {}) {
  return {
    idle: { status: "Ready when you are", hint: "Headphones give the best sound." },
    connecting: { status: "Connecting…", hint: "Looking for a free voice engine." },
    waiting: waiting(detail.place),
    permission: {
      status: "Waiting for the microphone…",
      hint: "Please allow it in the question that your browser asks.",
    },
    priming: { status: "Getting ready…", hint: `${name} takes on the role and the voice.` },
    live: live(name, detail),
    paused: { status: "Paused", hint: `It continues by itself when the sound is back. ${name} hears silence.` },
    muted: { status: "Live, you are muted", hint: `${name} hears silence.` },
    resuming: {
      status: "Reconnecting…",
      hint: `The connection was lost. The conversation is kept${left(detail.seconds)}.`,
    },
    recovering: {
      status: "One moment…",
      hint: detail.rewinding
        ? `${name} goes back and forgets what came after.`
        : `${name} is back in ${wait(detail.seconds ?? 0)}, and nothing is forgotten.`,
    },
    ending: { status: "Ending…", hint: "The conversation is being kept." },
    ended: { status: "Ended", hint: "" },
    problem: { status: "Not connected", hint: "" },
  }[phase];
}

/**
 * @param {string} name
 * @param {PhaseDetail} detail
 */
function live(name, { silent, signal }) {
  if (silent) return { status: "Live, without a microphone", hint: `${name} hears the sample questions only.` };
  if (signal) return SIGNAL[signal];
  return { status: "Live", hint: "Just speak. You can interrupt at any time." };
}

/** @param {QueuePosition | null | undefined} place */
function waiting(place) {
  if (!place) return { status: "In the queue…", hint: "" };
  const { position, of, eta_s: eta } = place;
  const status = position <= 1 ? "You are next" : `Number ${position} in the queue`;
  const total = of > 1 ? ` ${count(of, "person waits", "people wait")}.` : "";
  const time = `Your turn comes ${eta === null ? "as soon as there is room" : `in ${about(eta)}`}.`;
  return { status, hint: `${time}${total} Keep this page open, also in the background: it rings when it is your turn.`.trim() };
}

/**
 * A guess is no clock: in steps of ten seconds, rounded up.
 * @param {number} seconds
 */
function about(seconds) {
  return seconds >= 5 && seconds < 90 ? `about ${10 * Math.ceil(seconds / 10)} seconds` : wait(seconds);
}

/** @param {number | undefined} seconds */
function left(seconds) {
  return seconds !== undefined && seconds > 0 ? ` for another ${count(Math.ceil(seconds), "second")}` : "";
}

/**
 * How a state looks.
 * @param {State} state
 * @param {{ asking: boolean, paused: boolean, muted: boolean }} sound asking: the browser
 *   still asks for the microphone; paused: it has stopped the sound
 * @returns {Phase}
 */
export function phaseOf(state, { asking, paused, muted }) {
  const phase = state === "rewinding" ? "recovering" : state;
  if (asking && ["priming", "live", "recovering"].includes(phase)) return "permission";
  if (phase !== "live") return phase;
  if (paused) return "paused";
  return muted ? "muted" : "live";
}

/**
 * The name of that figure.
 * @param {number} contextSeconds
 * @param {number} sinceSeconds
 * @param {ReadyEvent["when_full"]} whenFull
 */
export function memoryLabel(contextSeconds, sinceSeconds, whenFull) {
  if (whenFull === "end") return "Time left";
  return contextSeconds && sinceSeconds >= contextSeconds ? "Memory" : "Full memory left";
}

/**
 * What remains of the model's full context, in words.
 * @param {number} contextSeconds
 * @param {number} sinceSeconds
 * @param {ReadyEvent["when_full"]} [whenFull] what comes then
 */
export function memoryLeft(contextSeconds, sinceSeconds, whenFull) {
  if (!contextSeconds) return "–";
  const left = contextSeconds - sinceSeconds;
  if (left <= 0) return whenFull === "end" ? "none" : "older parts fade";
  const minutes = Math.floor(left / 60);
  const seconds = String(Math.floor(left % 60)).padStart(2, "0");
  return `${minutes}:${seconds}`;
}
