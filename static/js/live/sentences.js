// Joins pieces of text into whole sentences.

const END = /[.!?…。！？]["'”’»)\]]*(?=\s)|[。！？]["'”’»)\]]*/u;
const LONGEST = 240; // characters; then it is cut at a space

export class Sentences {
  constructor() {
    this.open = "";
  }

  /**
   * Takes a piece; returns the sentences that are complete by it.
   * @param {string} piece
   */
  add(piece) {
    this.open += piece;
    const whole = [];
    for (let end = this.#end(); end; end = this.#end()) {
      whole.push(this.open.slice(0, end).trim());
      this.open = this.open.slice(end);
    }
    return whole.filter(Boolean);
  }

  /** What has no end yet, "" for nothing. */
  flush() {
    const rest = this.open.trim();
    this.open = "";
    return rest;
  }

  #end() {
    const found = END.exec(this.open);
    if (found) return found.index + found[0].length;
    return this.open.length > LONGEST ? Math.max(0, this.open.lastIndexOf(" ", LONGEST)) : 0;
  }
}
