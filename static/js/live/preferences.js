// What this browser remembers for its user. Private windows may refuse: then nothing.

const PREFIX = "personaplex.";

export function recall(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(PREFIX + key, JSON.stringify(value));
  } catch {
    // It is asked for again next time.
  }
}
