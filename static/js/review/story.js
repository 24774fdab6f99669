// What befell the conversation, as a list whose times can be clicked.

import { make } from "../shared/dom.js";
import { clock, milliseconds } from "../shared/format.js";

export function showNotes(list, notes, seek) {
  list.replaceChildren(
    ...notes.map((note) => {
      const at = make("button", {
        type: "button",
        className: "at numbers",
        textContent: clock(note.at_s),
        ariaLabel: `Go to ${clock(note.at_s)}`,
      });
      at.addEventListener("click", () => seek(note.at_s));
      const pause = note.pause_s === null ? "" : `, sound again after ${note.pause_s.toFixed(1)} s`;
      return make("li", {}, at, make("span", { textContent: note.text + pause }));
    }),
  );
}

/** [label, text] of what the page said of itself. */
export function pageRows(page) {
  const rows = [
    ["Mouth to ear, median", ms(page.latency_p50_ms)],
    ["Mouth to ear, 95 of 100", ms(page.latency_p95_ms)],
    ["In the jitter buffer", ms(page.buffer_p50_ms)],
    ["Gaps in the sound", page.underruns],
    ["Skipped to catch up", ms(page.skipped_ms)],
    ["Stretched or squeezed", ms(page.stretched_ms)],
    ["Echo of the loudspeaker", page.echo_p95 === null ? null : page.echo_p95.toFixed(2)],
  ];
  return rows.filter(([, value]) => value !== null).map(([label, value]) => [label, String(value)]);
}

function ms(value) {
  return value === null ? null : milliseconds(value);
}
