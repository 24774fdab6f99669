// Joins the pieces of text that the agent speaks, and knows which of them it remembers.
// Knows no page.
//
// A leading space starts a new word. Pieces that come after a long silence, or after
// going back, start a new line, so that what was said can be read as turns. So does what
// follows a long line: the browser lays a line out anew for every piece, and one that goes
// on for minutes would take the time in which frames arrive.

const LINE_AFTER_FRAMES = 25; // 2 s without text
const LINE_CHARACTERS = 400;

export class Transcript {
  constructor() {
    this.lines = []; // { frame, text }
    this.lastFrame = null;
  }

  /** Returns whether a new line began. */
  add(frame, piece) {
    const silent = this.lastFrame !== null && frame - this.lastFrame > LINE_AFTER_FRAMES;
    const long = this.last?.text.length >= LINE_CHARACTERS;
    const between = (silent || long) && piece.startsWith(" "); // words
    const begins = !this.lines.length || this.broken || between;
    this.lastFrame = frame;
    this.broken = false;
    if (begins) this.lines.push({ frame, text: piece.trimStart() });
    else this.last.text += piece;
    return begins;
  }

  /** What comes next is a new line, whatever it is. */
  break() {
    this.broken = true;
  }

  get last() {
    return this.lines[this.lines.length - 1];
  }
}

/** Which frames of the log the model has behind it: going back takes some away. */
export class Timeline {
  constructor() {
    this.ranges = [[0, Infinity]]; // [first, end) of log frames, the last one open
  }

  /** The model goes back by `count` frames at log frame `frame`; returns what it forgets
   * as ranges of the log. */
  back(frame, count) {
    const forgotten = [];
    while (count > 0 && this.ranges.length) {
      const [first, end] = this.ranges.pop();
      const last = Math.min(end, frame);
      const cut = Math.max(first, last - count);
      count -= last - cut;
      forgotten.push([cut, last]);
      if (cut > first) this.ranges.push([first, cut]);
    }
    this.ranges.push([frame, Infinity]);
    return forgotten;
  }
}
