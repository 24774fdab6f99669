// The phases of the live page and the words for each. Knows no page.
//
// idle ──click──> connecting ──> priming ──> live ──> ending ──> ended
//                     └────────────┴──────────┴──────> problem ──retry──> connecting
// `permission` stands instead of priming and live while the browser still asks for the
// microphone.

export const BUSY = new Set(["connecting", "permission", "priming", "live", "muted", "ending"]);
export const SPEAKING = new Set(["live", "muted", "ending"]);

export function describe(phase, name) {
  return {
    idle: { status: "Ready when you are", hint: "Headphones give the best sound." },
    connecting: { status: "Connecting…", hint: "Looking for a free voice engine." },
    permission: {
      status: "Waiting for the microphone…",
      hint: "Please allow it in the question that your browser asks.",
    },
    priming: { status: "Getting ready…", hint: `${name} takes on the role and the voice.` },
    live: { status: "Live", hint: "Just speak. You can interrupt at any time." },
    muted: { status: "Live, you are muted", hint: `${name} hears silence.` },
    ending: { status: "Ending…", hint: "The conversation is being kept." },
    ended: { status: "Ended", hint: "" },
    problem: { status: "Not connected", hint: "" },
  }[phase];
}

/** The phase while a conversation is under way. `site`: the last state it told. */
export function phaseOf({ site, microphoneOpen, muted, ending }) {
  if (ending) return "ending";
  if (site === "connecting") return "connecting";
  if (!microphoneOpen) return "permission";
  if (site === "priming") return "priming";
  return muted ? "muted" : "live";
}

/** What remains of the model's full context, in words. */
export function memoryLeft(contextSeconds, elapsed) {
  if (!contextSeconds) return "–";
  const left = contextSeconds - elapsed;
  if (left <= 0) return "older parts fade";
  const minutes = Math.floor(left / 60);
  const seconds = String(Math.floor(left % 60)).padStart(2, "0");
  return `${minutes}:${seconds}`;
}
