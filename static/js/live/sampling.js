// How the model samples: the user's wishes within the server's ranges; sampling_panel.js
// has the fields.

/** @import { Sampling } from "./protocol.js" */

/** @typedef {{ least: number, most: number, default: number | null }} Choice */
/** @typedef {Record<string, Choice>} Choices by name; a seed has no default */

/** @type {Record<string, string>} */
export const NAMES = {
  temperature_text: "Temperature of the words",
  top_k_text: "Choice of words (top-k)",
  temperature_audio: "Temperature of the voice",
  top_k_audio: "Choice of sounds (top-k)",
  seed: "Seed",
};

/**
 * Of `wishes` what `choices` allows and what differs from its default, moved into range.
 * @param {Choices} choices
 * @param {Record<string, unknown>} wishes
 * @returns {Sampling}
 */
export function askedFor(choices, wishes) {
  /** @type {Record<string, number>} */
  const asked = {};
  for (const [name, { least, most, default: usual }] of Object.entries(choices)) {
    const wish = wishes[name];
    if (typeof wish !== "number" || !Number.isFinite(wish)) continue;
    const whole = !name.startsWith("temperature");
    const value = Math.min(most, Math.max(least, whole ? Math.round(wish) : wish));
    if (value !== usual) asked[name] = value;
  }
  return asked;
}

/**
 * What the server applied, in a line.
 * @param {Sampling | undefined} sampling
 * @param {number} seed
 */
export function describeSampling(sampling, seed) {
  if (!sampling) return "–";
  if (sampling.greedy) return "always the likeliest";
  const { temperature_text: text, top_k_text, temperature_audio: audio, top_k_audio } = sampling;
  return `words ${text}, top ${top_k_text} · voice ${audio}, top ${top_k_audio} · seed ${seed}`;
}
