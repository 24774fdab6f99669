// What can go wrong, in texts that tell the user what to do.

/** @import { Problem } from "./protocol.js" */

/**
 * Why the microphone can't be had at all in this page; null when it can.
 * @param {{ isSecureContext: boolean, navigator?: Partial<Navigator>, AudioWorkletNode?: unknown }} scope
 * @returns {Problem | null}
 */
export function browserProblem(scope) {
  if (!scope.isSecureContext) {
    return {
      code: "insecure",
      text:
        "Browsers give the microphone only to secure pages. Open this site by its " +
        "https:// address, or on the machine it runs on as http://localhost.",
      retryable: false,
    };
  }
  if (!scope.navigator?.mediaDevices?.getUserMedia || !scope.AudioWorkletNode) {
    return {
      code: "browser",
      text:
        "This browser can't record sound in a page. Please use a current version of " +
        "Chrome, Edge, Firefox or Safari.",
      retryable: false,
    };
  }
  return null;
}

/**
 * A rejected getUserMedia.
 * @param {{ name: string, message?: string }} error
 * @returns {Problem}
 */
export function microphoneProblem(error) {
  /** @type {Record<string, string>} */
  const texts = {
    NotAllowedError:
      "The microphone is blocked for this page. Allow it by the icon beside the " +
      "address bar (and in the settings of your system), then try again.",
    NotFoundError: "No microphone was found. Connect one, then try again.",
    NotReadableError:
      "The microphone is there but gives no sound: another program may be using it. " +
      "Close that program, then try again.",
  };
  const detail = error.message ? ` (${error.message})` : "";
  const text = texts[error.name] ?? `The microphone could not be opened${detail}.`;
  return { code: `microphone_${error.name}`, text, retryable: true };
}

export const AUDIO_FAILED = {
  code: "audio_failed",
  text:
    "The browser failed to encode or decode the sound three times within a minute, so " +
    "the conversation was ended. Reload the page and start again.",
  retryable: true,
};

export const RESUME_TOO_LATE = {
  code: "resume_too_late",
  text:
    "The connection was lost for longer than a conversation is kept open. What was said " +
    "until then is kept.",
  retryable: true,
};

export const NOT_READY = {
  code: "not_ready",
  text: "The voice engine did not get ready in time. Please try again.",
  retryable: true,
};

/** @type {Record<number, string>} */
const CLOSED = {
  4400: "The server did not understand this page. Reload it, then try again.",
  4401: "You are no longer signed in. Sign in again, then start again.",
  4404: "This persona no longer exists.",
  4408: "The conversation did not start in time. Please try again.",
  4409: "This conversation continues in another tab or window.",
  4410: "The conversation could not be resumed. What was said until then is kept.",
  4413: "A sound frame was too large. Reload the page, then try again.",
  4429: "The sound came faster than real time: the computer may have been asleep. Please start again.",
  4503: "No voice engine is free right now. Please try again in a moment.",
};
const FINAL = new Set([4401, 4404]);

/**
 * The site answers, but its socket does not open.
 * @param {string} host
 * @returns {Problem}
 */
export function socketBlocked(host) {
  return {
    code: "socket_blocked",
    text:
      `The site answers, but its live connection (a WebSocket to ${host}) does not open. ` +
      "A proxy, a firewall or a browser extension may block it: try another network or " +
      "browser, or ask those who run the network to let WebSockets through. If it fails " +
      "everywhere, tell the administrator of this site.",
    retryable: true,
  };
}

/**
 * A socket that closed before the server said why.
 * @param {number} code
 * @param {boolean} wasLive
 * @returns {Problem}
 */
export function closeProblem(code, wasLive) {
  const lost = wasLive
    ? "The connection was lost. What was said until now is kept."
    : "The server can't be reached. Check your connection, then try again.";
  return { code: `closed_${code}`, text: CLOSED[code] ?? lost, retryable: !FINAL.has(code) };
}
