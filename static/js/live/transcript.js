// Joins the pieces of text that the agent speaks, and knows which of them it remembers;
// view.js shows them.
//
// A leading space starts a new word. Pieces that come after a long silence, or after
// going back, start a new line, so that the text can be read as turns. So does what follows
// a long line: the browser lays out the whole line again for every piece, and one of some
// minutes would take the time in which frames arrive.

const LINE_AFTER_FRAMES = 25; // 2 s without text
const LINE_CHARACTERS = 400;

export class Transcript {
  /** @type {{ frame: number, text: string }[]} */
  lines = [];
  /** @type {number | null} */
  lastFrame = null;
  broken = false;

  /**
   * Returns whether a new line began.
   * @param {number} frame
   * @param {string} piece
   */
  add(frame, piece) {
    const { last } = this;
    const silent = this.lastFrame !== null && frame - this.lastFrame > LINE_AFTER_FRAMES;
    const long = last !== undefined && last.text.length >= LINE_CHARACTERS;
    const between = (silent || long) && piece.startsWith(" "); // words
    const joins = last !== undefined && !this.broken && !between;
    this.lastFrame = frame;
    this.broken = false;
    if (joins) last.text += piece;
    else this.lines.push({ frame, text: piece.trimStart() });
    return !joins;
  }

  /** What comes next is a new line, whatever it is. */
  break() {
    this.broken = true;
  }

  get last() {
    return this.lines.at(-1);
  }
}

/** Which frames of the log the model has behind it: going back takes some away. */
export class Timeline {
  /** @type {[first: number, end: number][]} */
  ranges = [[0, Infinity]]; // of log frames, without the end; the last one is open

  /**
   * The model goes back by `count` frames at log frame `frame`; returns what it forgets
   * as ranges of the log.
   * @param {number} frame
   * @param {number} count
   */
  back(frame, count) {
    /** @type {[first: number, end: number][]} */
    const forgotten = [];
    while (count > 0) {
      const range = this.ranges.pop();
      if (!range) break;
      const [first, end] = range;
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
