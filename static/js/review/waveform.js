// Both sides on one time axis, drawn by wavesurfer.js from levels that the server made.
// wavesurfer.js follows the page's <audio>; it never fetches or decodes the recording.

/** @import { Levels } from "./levels.js" */

import Timeline from "../../vendor/wavesurfer/plugins/timeline.esm.js";
import Zoom from "../../vendor/wavesurfer/plugins/zoom.esm.js";
import WaveSurfer from "../../vendor/wavesurfer/wavesurfer.esm.js";
import { cssColour } from "../shared/dom.js";
import { clock } from "../shared/format.js";
import { FRAME_S } from "../shared/frames.js";
import { peaks, timeStep } from "./figures.js";

const LANE = 68; // px, the height of one side
const BAR = 2; // px
const GAP = 1;
const LABEL = 80; // px from one time label to the next
const PX_PER_LEVEL = 6; // zoomed in further there is nothing more to see
const ZOOM_FACTOR = 2;
/** @type {Record<string, number>} */
const STEPS = { ArrowLeft: -5, ArrowRight: 5, PageDown: -30, PageUp: 30 }; // seconds

export class Waveform {
  maxPxPerSecond = 0; // no zoom before the levels are there
  step = 0; // of the time axis, in seconds
  /** @type {Timeline | null} */
  times = null;

  /**
   * @param {HTMLElement} element
   * @param {object} options
   * @param {HTMLAudioElement} options.audio has its source already
   * @param {number} options.duration
   * @param {string} options.nonce
   * @param {(seconds: number) => void} options.moved called whenever the position changes
   * @param {() => void} options.clicked called after a click has moved the position
   * @param {() => void} options.zoomed called when zooming in or out has become possible or
   *   impossible
   */
  constructor(element, { audio, duration, nonce, moved, clicked, zoomed }) {
    this.element = element;
    this.duration = Math.max(duration, FRAME_S);
    this.zoomed = zoomed;
    this.surfer = WaveSurfer.create({
      container: element,
      media: audio,
      cspNonce: nonce,
      duration: this.duration,
      peaks: this.#peaks({ rate: 0, user: [], agent: [] }),
      height: LANE,
      barWidth: BAR,
      barGap: GAP,
      barRadius: 1,
      barMinHeight: 2,
      barHeight: 0.9,
      cursorWidth: 2,
      dragToSeek: true,
      autoCenter: !matchMedia("(prefers-reduced-motion: reduce)").matches,
      ...colours(),
    });
    element.setAttribute("aria-valuemax", this.duration.toFixed(1));
    this.surfer.on("timeupdate", () => this.#show(moved));
    this.surfer.on("click", clicked);
    this.surfer.on("redraw", () => this.#showTimes());
    this.surfer.on("zoom", () => this.#afterZoom());
    element.addEventListener("keydown", (event) => this.#key(event));
    element.addEventListener("wheel", scrollPage, { capture: true });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
      this.surfer.setOptions(colours()),
    );
    this.#show(moved);
  }

  get position() {
    return this.surfer.getCurrentTime();
  }

  /** @param {number} seconds */
  seek(seconds) {
    this.surfer.setTime(seconds);
  }

  /** @param {Levels} levels */
  setLevels(levels) {
    const { surfer } = this;
    this.maxPxPerSecond = levels.rate * PX_PER_LEVEL;
    const { maxPxPerSecond: maxZoom } = this;
    surfer.registerPlugin(Zoom.create({ maxZoom, exponentialZooming: true }));
    surfer.load(surfer.getSrc(), this.#peaks(levels), this.duration);
    this.zoomed();
  }

  zoomIn() {
    this.#zoom(ZOOM_FACTOR);
  }

  zoomOut() {
    this.#zoom(1 / ZOOM_FACTOR);
  }

  get canZoomIn() {
    return this.#pxPerSecond() < this.maxPxPerSecond - 1e-6;
  }

  get canZoomOut() {
    return this.surfer.options.minPxPerSec > 0;
  }

  /** @param {number} factor */
  #zoom(factor) {
    if (factor > 1 ? !this.canZoomIn : !this.canZoomOut) return;
    this.surfer.zoom(Math.min(this.maxPxPerSecond, this.#pxPerSecond() * factor));
  }

  /** The scale that fills the width: 0 for wavesurfer.js, so that it follows the width. */
  #afterZoom() {
    const { options } = this.surfer;
    if (options.minPxPerSec <= this.#fitting() + 1e-6) options.minPxPerSec = 0;
    this.zoomed();
  }

  #fitting() {
    return this.surfer.getWidth() / this.duration;
  }

  #pxPerSecond() {
    return Math.max(this.surfer.options.minPxPerSec, this.#fitting());
  }

  /** @param {Levels} levels */
  #peaks({ rate, user, agent }) {
    return [user, agent].map((levels) => peaks(levels, rate, this.duration));
  }

  /** @param {(seconds: number) => void} moved */
  #show(moved) {
    const { element, position } = this;
    element.setAttribute("aria-valuenow", position.toFixed(1));
    element.setAttribute("aria-valuetext", `${clock(position)} of ${clock(this.duration)}`);
    moved(position);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    /** @type {Record<string, number>} */
    const targets = { Home: 0, End: this.duration };
    const to = targets[event.key] ?? this.position + (STEPS[event.key] ?? NaN);
    if (event.key === "+") this.zoomIn();
    else if (event.key === "-") this.zoomOut();
    else if (!Number.isNaN(to)) this.seek(Math.max(0, Math.min(this.duration, to)));
    else return;
    event.preventDefault();
  }

  /** The labels' distance is in seconds, so it changes with the width and the zoom. */
  #showTimes() {
    const perSecond = this.#pxPerSecond();
    const step = timeStep(LABEL / perSecond);
    if (step === this.step) return;
    this.step = step;
    if (this.times) this.surfer.unregisterPlugin(this.times);
    const fits = (/** @type {number} */ seconds) => (this.duration - seconds) * this.#pxPerSecond() > LABEL / 2;
    this.times = this.surfer.registerPlugin(
      Timeline.create({
        height: 18,
        style: { fontSize: "11px" },
        timeInterval: step,
        primaryLabelInterval: step,
        formatTimeCallback: (seconds) => (fits(seconds) ? clock(seconds) : ""),
      }),
    );
  }
}

/**
 * The wheel scrolls the page; with Ctrl, or by a pinch on a touchpad, it zooms.
 * @param {WheelEvent} event
 */
function scrollPage(event) {
  if (!event.ctrlKey) event.stopPropagation();
}

function colours() {
  const sides = ["--user", "--agent"].map(cssColour);
  return {
    cursorColor: cssColour("--ink"),
    splitChannels: sides.map((colour) => ({
      waveColor: `color-mix(in srgb, ${colour} 42%, transparent)`,
      progressColor: colour,
    })),
  };
}
