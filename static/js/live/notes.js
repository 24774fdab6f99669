// The texts of notices during a conversation; notices.js shows them.

/**
 * @import { SignalProblem } from "./microphone_signal.js"
 * @import { Notice } from "./notices.js"
 * @import { NoticeEvent, Problem } from "./protocol.js"
 */

/** @typedef {ReturnType<typeof textsFor>} Texts */
/** @typedef {"first" | "chosen" | "lost" | "again"} MicrophoneReason why one was asked for */
/** @typedef {{ label: string }} Labelled */

/** @param {string} name of the persona */
export function textsFor(name) {
  return {
    echo:
      `The microphone hears ${name} from your loudspeaker. With headphones, or with less ` +
      `volume, ${name} is not interrupted by its own voice.`,
    silenced: "Your system muted the microphone: unmute it there, or by the key on your device.",
    interrupted:
      "Your device has taken the sound away, as it does for a phone call. The conversation " +
      `continues by itself when the sound is back; until then ${name} hears silence.`,
    paused: "The browser plays no sound. Is a loudspeaker or a headset connected?",
    signal: {
      silent: (/** @type {string} */ label) =>
        `Nothing at all comes from ${label}. Is it muted in the system, or by a switch on ` +
        "the headset or the cable? Or is another microphone the right one?",
      quiet: (/** @type {string} */ label) =>
        `Almost nothing is heard from ${label}. If you are speaking: come closer, turn it ` +
        "up in the sound settings of your system, or choose another microphone.",
      overdriven: (/** @type {string} */ label) =>
        `${label} is overdriven: your voice is cut off at full level and hard to ` +
        "understand. Turn it down in the sound settings of your system, or move away from it.",
    },
    sampleFailed: "The question could not be played.",
    loudspeakerFailed: "That loudspeaker can't be used. The one before stays.",
    loudspeakerLost: "The loudspeaker was disconnected. The default one is used now.",
    yourTurn: `Your turn: ${name}`,
    none: `${name} hears silence until there is one; sample questions work.`,
  };
}

/**
 * Null when there is nothing to report.
 * @param {Texts} texts
 * @param {{ microphone: Labelled | null, problem: Problem | null, reason: MicrophoneReason }} event
 * @param {() => void} again
 * @returns {Notice | null}
 */
export function microphoneNotice(texts, { microphone, problem, reason }, again) {
  const code = "microphone";
  const label = microphone && `“${microphone.label}”`;
  if (!problem) {
    if (reason === "first") return null;
    const lost = reason === "lost" ? "The microphone was disconnected. " : "";
    return { code, kind: "", brief: true, text: `${lost}Now using ${label}.` };
  }
  if (microphone) return { code, text: `${problem.text} ${label} stays in use.` };
  const action = { label: "Try the microphone again", run: again };
  const lost = reason === "lost" ? "The microphone was disconnected. " : "";
  return { code, action, text: `${lost}${problem.text} ${texts.none}` };
}

/**
 * What is wrong with the microphone's signal; null when nothing is.
 * @param {Texts} texts
 * @param {SignalProblem | null} problem
 * @param {Labelled | null | undefined} microphone
 * @param {() => void} choose lets another one be chosen
 * @returns {Notice | null}
 */
export function signalNotice(texts, problem, microphone, choose) {
  if (!problem || !microphone) return null;
  const action = { label: "Choose a microphone", run: choose };
  return { code: "signal", action, text: texts.signal[problem](`“${microphone.label}”`) };
}

/**
 * A `notice` of the site as our notices show it. That the context is full takes the place
 * of the notice that it soon will be.
 * @param {Pick<NoticeEvent, "code" | "text">} event
 * @returns {Notice}
 */
export function siteNotice({ code, text }) {
  const serious = code.startsWith("context");
  return { code: `site-${serious ? "context" : code}`, text, kind: serious ? "warning" : "", brief: !serious };
}
