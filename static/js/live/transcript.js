// Joins the pieces of text that the agent speaks. Knows no page.
//
// A leading space starts a new word. Pieces that come after a long silence start a new
// line, so that what was said can be read as turns.

const LINE_AFTER_FRAMES = 25; // 2 s without text

export class Transcript {
  constructor() {
    this.lines = []; // { frame, text }
    this.lastFrame = null;
  }

  /** Returns whether a new line began. */
  add(frame, piece) {
    const silent = this.lastFrame !== null && frame - this.lastFrame > LINE_AFTER_FRAMES;
    const begins = !this.lines.length || (silent && piece.startsWith(" "));
    this.lastFrame = frame;
    if (begins) this.lines.push({ frame, text: piece.trimStart() });
    else this.lines[this.lines.length - 1].text += piece;
    return begins;
  }

  get last() {
    return this.lines[this.lines.length - 1];
  }
}
