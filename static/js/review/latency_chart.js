// The path of the frames through the site over the conversation: the median as a line,
// the slowest as an area, the 80 ms of a frame as the limit.

import { cssColour, fitCanvas } from "../shared/dom.js";
import { clock } from "../shared/format.js";
import { axisTicks, timeTicks } from "./figures.js";

const LEFT = 56; // px for the labels
const BOTTOM = 20;
const TOP = 10;
const FRAME_MS = 80;

export class LatencyChart {
  constructor(canvas, series, duration) {
    this.canvas = canvas;
    this.series = series;
    this.duration = Math.max(duration, 0.08);
    this.ticks = axisTicks(Math.max(100, ...series.max_ms), 4);
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  draw() {
    const fitted = fitCanvas(this.canvas);
    if (!fitted) return;
    const { context, width, height } = fitted;
    const top = this.ticks[this.ticks.length - 1];
    this.x = (t) => LEFT + (t / this.duration) * (width - LEFT - 4);
    this.y = (ms) => TOP + (1 - ms / top) * (height - TOP - BOTTOM);
    this.#grid(context, width, height);
    this.#area(context);
    this.#line(context, width);
  }

  #grid(context, width, height) {
    context.font = `11px ${getComputedStyle(this.canvas).fontFamily}`;
    for (const ms of this.ticks) {
      context.fillStyle = cssColour("--line");
      context.fillRect(LEFT, Math.round(this.y(ms)), width - LEFT, 1);
      context.fillStyle = cssColour("--muted");
      context.textAlign = "right";
      context.fillText(`${ms} ms`, LEFT - 6, this.y(ms) + 4);
    }
    context.textAlign = "center";
    for (const t of timeTicks(this.duration, Math.max(2, Math.floor(width / 90)))) {
      context.fillText(clock(t), Math.min(width - 14, this.x(t)), height - 4);
    }
    context.strokeStyle = cssColour("--danger");
    context.setLineDash([4, 4]);
    context.beginPath();
    context.moveTo(LEFT, this.y(FRAME_MS));
    context.lineTo(width, this.y(FRAME_MS));
    context.stroke();
    context.setLineDash([]);
  }

  #area(context) {
    const { t, max_ms: most } = this.series;
    if (!t.length) return;
    context.fillStyle = cssColour("--user");
    context.globalAlpha = 0.28;
    context.beginPath();
    context.moveTo(this.x(t[0]), this.y(0));
    t.forEach((at, i) => context.lineTo(this.x(at), this.y(most[i])));
    context.lineTo(this.x(t[t.length - 1]), this.y(0));
    context.fill();
    context.globalAlpha = 1;
  }

  #line(context) {
    const { t, p50_ms: median } = this.series;
    context.strokeStyle = cssColour("--agent");
    context.lineWidth = 2;
    context.lineJoin = "round";
    context.beginPath();
    t.forEach((at, i) => context.lineTo(this.x(at), this.y(median[i])));
    context.stroke();
  }
}
