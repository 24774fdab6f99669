import { deepEqual as equal } from "node:assert/strict";
import { test } from "node:test";

import { Details } from "../../static/js/live/details.js";

test("what passes while the connection is lost is no time of the conversation", (t) => {
  let now = 1_000;
  t.mock.method(performance, "now", () => now);
  const details = new Details();
  details.found(); // the first `ready`: nothing was lost
  details.liveSince = now;
  now = 6_000;
  details.lostAt = now;
  now = 36_000;
  equal(details.now() - details.liveSince, 5_000);
  details.found();
  equal(details.now() - details.liveSince, 5_000);
  now = 37_000;
  equal(details.now() - details.liveSince, 6_000);
});
