// What happened in the conversation, as a list whose times can be clicked.

/** @import { LogEvent } from "./data.js" */

import { make } from "../shared/dom.js";
import { clock } from "../shared/format.js";

/**
 * @param {HTMLElement} list
 * @param {LogEvent[]} events
 * @param {(seconds: number) => void} seek
 */
export function showEvents(list, events, seek) {
  list.replaceChildren(
    ...events.map((event) => {
      const at = make("button", {
        type: "button",
        className: "at numbers",
        textContent: clock(event.at_s),
        ariaLabel: `Go to ${clock(event.at_s)}`,
      });
      at.addEventListener("click", () => seek(event.at_s));
      const pause = event.pause_s === null ? "" : `, sound again after ${event.pause_s.toFixed(1)} s`;
      return make("li", {}, at, make("span", { textContent: event.text + pause }));
    }),
  );
}
