// How a voice upload is coming along: over a socket, by polling where there is none.

const POLL_MS = 1500;
const NOT_OURS = [4401, 4404];

/** @typedef {{ upload: string, status_url: string, socket_path: string }} Upload */
/**
 * @typedef {{ type: "progress", text: string, percent: number }
 *   | { type: "ready" }
 *   | { type: "failed", text: string }} Payload
 */

/**
 * Returns a function that stops following.
 * @param {Upload} upload
 * @param {(payload: Payload) => void} onPayload gets each payload, the last one "ready" or
 *   "failed"
 */
export function follow(upload, onPayload) {
  let stopped = false;
  let timer = 0;

  const receive = (/** @type {Payload} */ payload) => {
    if (stopped) return;
    if (payload.type !== "progress") stop();
    onPayload(payload);
  };

  const poll = async () => {
    if (stopped) return;
    const payload = await ask(upload.status_url);
    if (payload) receive(payload);
    if (!stopped) timer = setTimeout(poll, POLL_MS);
  };

  const socket = new WebSocket(new URL(upload.socket_path, location.href.replace(/^http/, "ws")));
  socket.onmessage = ({ data }) => receive(JSON.parse(data));
  socket.onclose = ({ code }) => {
    if (!stopped && !NOT_OURS.includes(code)) poll();
  };

  function stop() {
    stopped = true;
    clearTimeout(timer);
    socket.onclose = null;
    socket.close(1000);
  }
  return stop;
}

/**
 * @param {string} url
 * @returns {Promise<Payload | null>}
 */
async function ask(url) {
  try {
    const response = await fetch(url, { headers: { Accept: "application/json" } });
    return response.ok && !response.redirected ? await response.json() : null;
  } catch {
    return null; // offline for a moment: the next poll asks again
  }
}
