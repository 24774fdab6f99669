import { deepEqual as equal, ok } from "node:assert/strict";
import { test } from "node:test";

import { Drafts } from "../../static/js/shared/drafts.js";

const DAY = 24 * 3600 * 1000;

class Storage {
  constructor(most = Infinity) {
    this.most = most;
    this.items = new Map();
  }
  get length() {
    return this.items.size;
  }
  key(index) {
    return [...this.items.keys()][index] ?? null;
  }
  getItem(key) {
    return this.items.get(key) ?? null;
  }
  setItem(key, value) {
    if (this.items.size >= this.most) throw new DOMException("full", "QuotaExceededError");
    this.items.set(key, value);
  }
  removeItem(key) {
    this.items.delete(key);
  }
}

function make({ scope = "7.ada", days = 30, most = 3, storage = new Storage() } = {}) {
  const clock = { now: 1000 * DAY };
  const drafts = new Drafts(scope, { days, most }, storage, () => clock.now);
  return { drafts, storage, clock };
}

test("a draft comes back, the newest first", () => {
  const { drafts, clock } = make();
  drafts.put("a", { name: "Ada" });
  clock.now += 1;
  drafts.put("b", { name: "Eve" });
  equal(drafts.list().map(({ id, fields }) => [id, fields.name]), [["b", "Eve"], ["a", "Ada"]]);
  drafts.remove("b");
  equal(drafts.list().map(({ id }) => id), ["a"]);
});

test("no one sees the drafts of another form or person", () => {
  const { drafts, storage } = make();
  drafts.put("a", { name: "Ada" });
  for (const scope of ["8.ada", "7.eve", "7.ad"]) equal(make({ scope, storage }).drafts.list(), []);
});

test("of all forms together so many are kept, and the oldest goes", () => {
  const { drafts, storage, clock } = make();
  const other = new Drafts("7.eve", { days: 30, most: 3 }, storage, () => clock.now);
  for (const [each, id] of [[other, "0"], [drafts, "1"], [drafts, "2"], [drafts, "3"]]) {
    clock.now += 1;
    ok(each.put(id, { name: id }), "it is kept");
  }
  equal(other.list(), []);
  equal(drafts.list().map(({ id }) => id), ["3", "2", "1"]);
  clock.now += 1;
  drafts.put("1", { name: "again" });
  equal(drafts.list().map(({ id }) => id), ["1", "3", "2"]);
});

test("an old draft goes, one that is too large is not kept", () => {
  const { drafts, storage, clock } = make();
  drafts.put("a", { name: "Ada" });
  clock.now += 30 * DAY + 1;
  equal(drafts.list(), []);
  equal(storage.length, 0);
  ok(!drafts.put("b", { role_prompt: "x".repeat(100_001) }), "too large");
  equal(storage.length, 0);
});

test("what others wrote under our names does no harm", () => {
  const { drafts, storage } = make();
  const odd = ["", "null", "[]", '{"at":1e9}', '{"at":"x","fields":{}}', '{"at":1,"fields":{"a":1}}', '{"at":1,"fields":["a"]}', "{", "x".repeat(200_000)];
  odd.forEach((text, index) => storage.items.set(`personaplex.draft.7.ada.${index}`, text));
  storage.items.set("other", "stays");
  equal(drafts.list(), []);
  equal([...storage.items], [["other", "stays"]]);
});

test("a full storage is no error", () => {
  const { drafts } = make({ storage: new Storage(0) });
  equal(drafts.put("a", { name: "Ada" }), false);
});

test("what the site has saved goes, whatever form it was of", () => {
  const { drafts, storage } = make();
  drafts.put("0a", { name: "Ada" });
  drafts.put("a", { name: "Eve" });
  Drafts.removeSaved("a", storage);
  equal(drafts.list().map(({ id }) => id), ["0a"]);
});
