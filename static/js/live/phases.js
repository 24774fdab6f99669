// The phases of the live page and the words for each. Knows no page.
//
// idle ──click──> connecting ──> waiting ──> priming ──> live ──> ending ──> ended
//                     └────────────┴───────────┴──────────┴──────> problem ──> connecting
// `permission` stands instead of priming and live while the browser still asks for the
// microphone. From live: `resuming` while the connection is lost, `recovering` while the
// site replaces the voice engine or goes back, `paused` while the browser has stopped the
// sound, then live again.

import { count, wait } from "../shared/format.js";

export const BUSY = new Set([
  ...["connecting", "waiting", "permission", "priming"],
  ...["live", "muted", "paused", "resuming", "recovering", "ending"],
]);
export const SPEAKING = new Set(["live", "muted", "paused", "resuming", "recovering", "ending"]);

const HEARING = {
  silent: { status: "Live, but nothing is heard", hint: "Your microphone sends silence." },
  quiet: { status: "Live, but you are hardly heard", hint: "Speak up, or check the microphone." },
  overdriven: { status: "Live, but you are too loud", hint: "Your microphone is overdriven." },
};

/** `detail`: { place: the `waiting` event, seconds: left or expected, silent, hearing, rewinding }. */
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
    live: detail.silent
      ? { status: "Live, without a microphone", hint: `${name} hears the sample questions only.` }
      : HEARING[detail.hearing] ?? { status: "Live", hint: "Just speak. You can interrupt at any time." },
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

function waiting(place) {
  if (!place) return { status: "In the queue…", hint: "" };
  const { position, of, eta_s: eta } = place;
  const status = position <= 1 ? "You are next" : `Number ${position} in the queue`;
  const total = of > 1 ? ` ${count(of, "person waits", "people wait")}.` : "";
  const time = Number.isFinite(eta) ? `Your turn comes in ${wait(eta)}.` : "";
  return { status, hint: `${time}${total} Keep this page open, also in the background: it rings when it is your turn.`.trim() };
}

function left(seconds) {
  return seconds > 0 ? ` for another ${count(Math.ceil(seconds), "second")}` : "";
}

/** The phase while a conversation is under way. `site`: the last state it told. */
export function phaseOf({ site, microphoneAsked, muted, paused, ending, lost }) {
  if (ending) return "ending";
  if (site === "recovering" && lost) return site;
  if (lost || site === "resuming") return "resuming";
  if (site === "connecting" || site === "waiting") return site;
  if (!microphoneAsked) return "permission";
  if (site === "priming" || site === "recovering") return site;
  if (paused) return "paused";
  return muted ? "muted" : "live";
}

/** What remains of the model's full context, in words. `whenFull`: what comes then. */
export function memoryLeft(contextSeconds, sinceSeconds, whenFull) {
  if (!contextSeconds) return "–";
  const left = contextSeconds - sinceSeconds;
  if (left <= 0) return whenFull === "end" ? "none" : "older parts fade";
  const minutes = Math.floor(left / 60);
  const seconds = String(Math.floor(left % 60)).padStart(2, "0");
  return `${minutes}:${seconds}`;
}
