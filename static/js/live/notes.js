// The words of notices while a conversation goes on. Knows no page.

export function words(name) {
  return {
    echo:
      `The microphone hears ${name} from your loudspeaker. With headphones, or with less ` +
      `volume, ${name} is not interrupted by its own voice.`,
    silenced: "Your system muted the microphone: unmute it there, or by the key on your device.",
    interrupted:
      "Your device has taken the sound away, as it does for a phone call. The conversation " +
      `continues by itself when the sound is back; until then ${name} hears silence.`,
    paused: "The browser plays no sound. Is a loudspeaker or a headset connected?",
    hearing: {
      silent: (label) =>
        `Nothing at all comes from ${label}. Is it muted in the system, or by a switch on ` +
        "the headset or the cable? Or is another microphone the right one?",
      quiet: (label) =>
        `Almost nothing is heard from ${label}. If you are speaking: come closer, turn it ` +
        "up in the sound settings of your system, or choose another microphone.",
      overdriven: (label) =>
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

/** `reason`: "first", "chosen", "lost" or "again"; null when there is nothing to say. */
export function microphoneNotice(say, { microphone, problem, reason }, again) {
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
  return { code, action, text: `${lost}${problem.text} ${say.none}` };
}

/** What the microphone lacks; null when it is well. `choose`: lets another be chosen. */
export function hearingNotice(say, problem, microphone, choose) {
  if (!problem || !microphone) return null;
  const action = { label: "Choose a microphone", run: choose };
  return { code: "hearing", action, text: say.hearing[problem](`“${microphone.label}”`) };
}

/** A `notice` of the site as our notices show it. */
export function siteNotice({ code, text }) {
  const serious = code.startsWith("context");
  return { code: `site-${code}`, text, kind: serious ? "warning" : "", brief: !serious };
}
