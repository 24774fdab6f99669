// Server latency over the conversation, drawn by uPlot: the median as a line, the slowest
// frames as an area, the duration of a frame as the limit.

/**
 * @import { AlignedData, Options, Series } from "../../vendor/uplot/uPlot.esm.js"
 * @import { LatencySeries } from "./data.js"
 */

import uPlot from "../../vendor/uplot/uPlot.esm.js";
import { cssColour } from "../shared/dom.js";
import { clock, milliseconds } from "../shared/format.js";
import { FRAME_MS, FRAME_S } from "../shared/frames.js";
import { TIME_STEPS } from "./figures.js";

const MIN_TOP_MS = 100; // so that the limit is always in sight
const PLOT_HEIGHT = 160; // px, the legend comes on top of it
const LABEL = 80; // px from one time label to the next

export class LatencyChart {
  /**
   * @param {HTMLElement} element
   * @param {LatencySeries} series
   * @param {number} duration
   */
  constructor(element, series, duration) {
    this.element = element;
    this.duration = Math.max(duration, FRAME_S);
    this.data = chartData(series, this.duration);
    this.chart = this.#draw();
    new ResizeObserver(() => this.#fit()).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#redraw());
  }

  /** From the start when the theme changes: uPlot's legend keeps its colours. */
  #redraw() {
    this.chart.destroy();
    this.chart = this.#draw();
  }

  #draw() {
    return new uPlot(this.#options(), this.data, this.element);
  }

  #fit() {
    this.chart.setSize({ width: this.element.clientWidth, height: PLOT_HEIGHT });
  }

  /** @returns {Options} */
  #options() {
    const font = `11px ${getComputedStyle(this.element).fontFamily}`;
    const axis = {
      font,
      stroke: cssColour("--muted"),
      grid: { stroke: cssColour("--line"), width: 1 },
      ticks: { stroke: cssColour("--line"), width: 1, size: 4 },
    };
    const values =
      (/** @type {(value: number) => string} */ format) =>
      (/** @type {uPlot} */ _, /** @type {number[]} */ splits) =>
        splits.map(format);
    return {
      width: this.element.clientWidth,
      height: PLOT_HEIGHT,
      cursor: { y: false, drag: { x: false, y: false } },
      scales: {
        x: { time: false, range: [0, this.duration] },
        y: { range: (_, __, most) => [0, Math.max(MIN_TOP_MS, most * 1.05)] },
      },
      axes: [
        { ...axis, size: 26, space: LABEL, incrs: TIME_STEPS, values: values(clock) },
        { ...axis, size: 58, space: 32, values: values((ms) => `${ms} ms`) },
      ],
      series: lines(this.data[0].length),
    };
  }
}

/**
 * [t, slowest, median, limit]; the last point only carries the limit to the end.
 * @param {LatencySeries} series
 * @param {number} duration
 * @returns {AlignedData}
 */
export function chartData({ t, p50_ms: median, max_ms: slowest }, duration) {
  const times = [...t, Math.max(duration, t.at(-1) ?? 0)];
  return [times, [...slowest, null], [...median, null], times.map(() => FRAME_MS)];
}

/**
 * @param {number} length of the series
 * @returns {Series[]}
 */
function lines(length) {
  const user = cssColour("--user");
  /** @type {Series["value"]} */
  const value = (_, ms) => milliseconds(ms);
  const points = { show: length < 3 }; // of one point no line can be drawn
  return [
    { label: "time", value: (_, seconds) => (seconds === null ? "–" : clock(seconds)) },
    {
      label: "slowest",
      value,
      points,
      stroke: user,
      width: 1,
      fill: `color-mix(in srgb, ${user} 28%, transparent)`,
    },
    { label: "median", value, points, stroke: cssColour("--agent"), width: 2 },
    {
      label: "limit, one frame",
      value,
      points: { show: false },
      stroke: cssColour("--danger"),
      width: 1,
      dash: [4, 4],
    },
  ];
}
