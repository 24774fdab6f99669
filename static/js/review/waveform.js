// Both sides on one time axis; click or keys move the position. Knows no audio.

import { cssColour, fitCanvas } from "../shared/dom.js";
import { clock } from "../shared/format.js";
import { columnLevels, timeTicks } from "./figures.js";

const AXIS = 18; // px below the lanes
const BAR = 3; // px from one bar to the next
const KEYS = { ArrowLeft: -5, ArrowRight: 5, PageDown: -30, PageUp: 30 };

export class Waveform {
  constructor(canvas, duration, seek) {
    this.canvas = canvas;
    this.duration = Math.max(duration, 0.08);
    this.levels = null;
    this.position = 0;
    this.seek = seek;
    canvas.addEventListener("pointerdown", (event) => this.#drag(event));
    canvas.addEventListener("pointermove", (event) => event.buttons && this.#drag(event));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.setAttribute("aria-valuemax", this.duration.toFixed(1));
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  #drag(event) {
    const box = this.canvas.getBoundingClientRect();
    this.seek(((event.clientX - box.left) / box.width) * this.duration);
  }

  #key(event) {
    const targets = { Home: 0, End: this.duration };
    const to = targets[event.key] ?? this.position + (KEYS[event.key] ?? NaN);
    if (Number.isNaN(to)) return;
    event.preventDefault();
    this.seek(Math.max(0, Math.min(this.duration, to)));
  }

  setLevels(levels) {
    this.levels = levels;
    this.draw();
  }

  setPosition(seconds) {
    this.position = seconds;
    this.canvas.setAttribute("aria-valuenow", seconds.toFixed(1));
    this.canvas.setAttribute("aria-valuetext", `${clock(seconds)} of ${clock(this.duration)}`);
    this.draw();
  }

  draw() {
    const fitted = fitCanvas(this.canvas);
    if (!fitted) return;
    const { context, width, height } = fitted;
    const lane = (height - AXIS) / 2;
    this.#lane(context, width, lane / 2, lane, this.levels?.user, "--user");
    this.#lane(context, width, lane * 1.5, lane, this.levels?.agent, "--agent");
    this.#axis(context, width, height);
    const x = (this.position / this.duration) * width;
    context.fillStyle = cssColour("--ink");
    context.fillRect(Math.min(width - 2, Math.max(0, x - 1)), 0, 2, height - AXIS);
  }

  #lane(context, width, middle, lane, levels, colour) {
    // The file may be a little longer than its levels or the other way round.
    const seconds = levels ? levels.length / this.levels.rate : this.duration;
    const columns = Math.max(1, Math.floor((width * seconds) / this.duration / BAR));
    const heights = columnLevels(levels ?? [], columns);
    const played = (this.position / this.duration) * width;
    context.fillStyle = cssColour(colour);
    for (let c = 0; c < columns; c += 1) {
      const x = c * BAR;
      const tall = Math.max(2, (heights[c] / 100) * (lane - 8));
      context.globalAlpha = x <= played ? 1 : 0.42;
      context.beginPath();
      context.roundRect(x, middle - tall / 2, BAR - 1, tall, 1);
      context.fill();
    }
    context.globalAlpha = 1;
  }

  #axis(context, width, height) {
    context.fillStyle = cssColour("--muted");
    context.font = `11px ${getComputedStyle(this.canvas).fontFamily}`;
    for (const tick of timeTicks(this.duration, Math.max(2, Math.floor(width / 80)))) {
      const x = (tick / this.duration) * width;
      const label = clock(tick);
      const wide = context.measureText(label).width;
      context.fillText(label, Math.min(width - wide, Math.max(0, x - wide / 2)), height - 3);
    }
  }
}
