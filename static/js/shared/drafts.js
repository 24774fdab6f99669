// Drafts of forms, kept in this browser until they are saved. Bounded in number, size
// and age; what other code on this origin wrote under our keys is checked like any
// input. Where the browser stores nothing, as some private windows do, there are none.

const PREFIX = "personaplex.draft.";
const MAX_CHARACTERS = 100_000; // of one draft as JSON
const DAY_MS = 24 * 3600 * 1000;

/** @typedef {Pick<Storage, "length" | "key" | "getItem" | "setItem" | "removeItem">} DraftStorage */
/** @typedef {Record<string, string>} Fields the text of each field of a form */
/** @typedef {{ at: number, fields: Fields }} Content `at` in ms since 1970 */
/** @typedef {Content & { id: string }} Draft */

export class Drafts {
  /**
   * @param {string} scope names the form and whose it is
   * @param {{ days: number, most: number }} limits of all scopes together
   * @param {DraftStorage} storage
   */
  constructor(scope, limits, storage = browserStorage(), now = Date.now) {
    this.prefix = `${PREFIX}${scope}.`;
    this.limits = limits;
    this.storage = storage;
    this.now = now;
    this.#removeOldest(limits.most);
  }

  /**
   * The drafts of this scope, the newest first.
   * @returns {Draft[]}
   */
  list() {
    return this.#all()
      .filter(({ key }) => key.startsWith(this.prefix))
      .map(({ key, at, fields }) => ({ id: key.slice(this.prefix.length), at, fields }));
  }

  /**
   * False if it could not be kept.
   * @param {string} id
   * @param {Fields} fields
   */
  put(id, fields) {
    const text = JSON.stringify({ at: this.now(), fields });
    if (text.length > MAX_CHARACTERS) return false;
    const key = this.prefix + id;
    this.#removeOldest(this.limits.most - 1, key);
    try {
      this.storage.setItem(key, text);
      return true;
    } catch {
      return false; // full, or not allowed
    }
  }

  /** @param {string} id */
  remove(id) {
    this.#remove(this.prefix + id);
  }

  /**
   * Of any scope: the site has saved what this draft was of.
   * @param {string} id
   */
  static removeSaved(id, storage = browserStorage()) {
    for (const key of keysOf(storage)) {
      if (key.startsWith(PREFIX) && key.endsWith(`.${id}`)) storage.removeItem(key);
    }
  }

  /** @param {number} most */
  #removeOldest(most, except = "") {
    const removable = this.#all().filter(({ key }) => key !== except);
    for (const { key } of removable.slice(most)) this.#remove(key);
  }

  /** All drafts that are whole and recent, the newest first; others are removed. */
  #all() {
    const oldest = this.now() - this.limits.days * DAY_MS;
    const found = [];
    for (const key of keysOf(this.storage)) {
      if (!key.startsWith(PREFIX)) continue;
      const draft = parse(this.storage.getItem(key));
      if (draft && draft.at >= oldest) found.push({ key, ...draft });
      else this.#remove(key);
    }
    return found.sort((a, b) => b.at - a.at);
  }

  /** @param {string} key */
  #remove(key) {
    this.storage.removeItem(key);
  }
}

/**
 * Null for what is no draft.
 * @param {string | null} text
 * @returns {Content | null}
 */
function parse(text) {
  if (!text || text.length > MAX_CHARACTERS) return null;
  try {
    const { at, fields } = JSON.parse(text);
    const texts = Object.values(fields);
    const isDraft = Number.isFinite(at) && !Array.isArray(fields) && texts.every((value) => typeof value === "string");
    return isDraft ? { at, fields } : null;
  } catch {
    return null;
  }
}

/** @param {DraftStorage} storage */
function keysOf(storage) {
  const keys = Array.from({ length: storage.length }, (_, index) => storage.key(index));
  return keys.filter((key) => key !== null);
}

/** @returns {DraftStorage} */
function browserStorage() {
  try {
    return window.localStorage;
  } catch {
    return { length: 0, key: () => null, getItem: () => null, setItem: () => {}, removeItem: () => {} };
  }
}
