// Polls the levels of the waveform, with growing pauses, until they have been made.

const FIRST_WAIT_MS = 1000;
const MAX_WAIT_MS = 15_000;
const GROWTH = 1.5;
const MAX_REQUESTS = 20; // in less than four minutes

/** @typedef {{ rate: number, user: number[], agent: number[] }} Levels 0 … 100 */

/**
 * Levels, or null while they are being made. Throws where there won't be any: the
 * conversation was deleted, or the user has signed out.
 * @param {string} address
 * @param {typeof fetch} send
 * @returns {Promise<Levels | null>}
 */
export async function fetchLevels(address, send = (...request) => fetch(...request)) {
  const response = await send(address, { headers: { Accept: "application/json" } });
  if (response.status >= 400 && response.status < 500) throw new Error(`${response.status}`);
  if (!response.ok) return null; // the site is restarting or overloaded
  const levels = await response.json();
  return levels.ready ? levels : null;
}

/**
 * The first levels that `request` gives, or null after the last try.
 * @param {() => Promise<Levels | null>} request
 * @param {object} options
 * @param {(ms: number) => Promise<unknown>} [options.sleep]
 * @param {() => void} [options.waiting] called once if the first try gives none
 */
export async function pollLevels(request, { sleep = pause, waiting = () => {} } = {}) {
  let wait = FIRST_WAIT_MS;
  for (let tries = 1; tries <= MAX_REQUESTS; tries += 1) {
    const levels = await request().catch((error) => {
      // fetch throws a TypeError while the network is away.
      if (!(error instanceof TypeError)) throw error;
      return null;
    });
    if (levels) return levels;
    if (tries === 1) waiting();
    if (tries < MAX_REQUESTS) await sleep(wait);
    wait = Math.min(wait * GROWTH, MAX_WAIT_MS);
  }
  return null;
}

/**
 * @param {number} ms
 * @returns {Promise<void>}
 */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
