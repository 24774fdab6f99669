import { deepEqual as equal, ok } from "node:assert/strict";
import { test } from "node:test";

import { Sentences } from "../../static/js/live/sentences.js";
import { Substitute } from "../../static/js/live/substitute.js";

function said(...pieces) {
  const sentences = new Sentences();
  return [pieces.flatMap((piece) => sentences.add(piece)), sentences.flush()];
}

test("pieces become whole sentences", () => {
  equal(said(" Ho", "w", " can", " I", " help", "?", " I", " am"), [["How can I help?"], "I am"]);
  equal(said(" It is 5.30", " now", ".", " Fine"), [["It is 5.30 now."], "Fine"]);
  equal(said(' "Yes', '."', " He", " said so…", " Good"), [['"Yes."', "He said so…"], "Good"]);
  equal(said("はい。", "そう", "です"), [["はい。"], "そうです"]);
  equal(said(), [[], ""]);
});

test("what never ends is cut between words", () => {
  const [whole, rest] = said(...Array.from({ length: 100 }, () => " word"));
  ok(whole.length === 2, `${whole.length} pieces`);
  ok(whole.every((piece) => piece.length <= 240 && /^word.*word$/.test(piece)), "cut at spaces");
  equal((whole.join(" ") + " " + rest).split(" ").length, 100);
  const [cut] = said("x".repeat(1000));
  equal(cut, []); // one word: there is no place to cut
});

test("silence is due every 80 ms, is caught up a little, and never bursts", () => {
  let now = 1000;
  const due = [];
  const substitute = new Substitute("", (sent, leftOut) => due.push([sent, leftOut]), () => now);
  substitute.next = now + 80;
  const at = (time) => {
    now = time;
    substitute.tick();
  };
  [1040, 1080, 1100, 1240, 2240, 12_240].forEach(at);
  equal(due, [[1, 0], [2, 0], [12, 0], [12, 113]]);
});
