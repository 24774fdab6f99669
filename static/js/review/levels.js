// The levels of the waveform: asked for until they have been made, ever less often.

const FIRST_WAIT_MS = 1000;
const MAX_WAIT_MS = 15_000;
const GROWTH = 1.5;
const MAX_QUESTIONS = 20; // in less than four minutes

/** Levels, or null where there are none yet. Throws where there won't be any: the
 * conversation was deleted, or its viewer has signed out. */
export async function askForLevels(address, send = (...request) => fetch(...request)) {
  const response = await send(address, { headers: { Accept: "application/json" } });
  if (response.status >= 400 && response.status < 500) throw new Error(`${response.status}`);
  if (!response.ok) return null; // a site that starts again, or is full
  const levels = await response.json();
  return levels.ready ? levels : null;
}

/** What `ask` answers in the end, or null. `waiting` is called once if it takes time. */
export async function waitForLevels(ask, { sleep = pause, waiting = () => {} } = {}) {
  let wait = FIRST_WAIT_MS;
  for (let asked = 1; asked <= MAX_QUESTIONS; asked += 1) {
    const levels = await ask().catch((error) => {
      // A TypeError is a network that is away for a while.
      if (!(error instanceof TypeError)) throw error;
      return null;
    });
    if (levels) return levels;
    if (asked === 1) waiting();
    if (asked < MAX_QUESTIONS) await sleep(wait);
    wait = Math.min(wait * GROWTH, MAX_WAIT_MS);
  }
  return null;
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
