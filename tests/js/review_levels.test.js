import { deepEqual as equal, ok } from "node:assert/strict";
import { test } from "node:test";

import { fetchLevels, pollLevels } from "../../static/js/review/levels.js";

const LEVELS = { ready: true, rate: 25, user: [1], agent: [2] };

function answering(...answers) {
  let asked = 0;
  return async () => {
    const answer = answers[Math.min(asked, answers.length - 1)];
    asked += 1;
    if (answer instanceof Error) throw answer;
    return answer;
  };
}

async function waited(ask) {
  const waits = [];
  let reported = 0;
  const levels = await pollLevels(ask, {
    sleep: async (ms) => waits.push(ms),
    waiting: () => (reported += 1),
  });
  return { levels, waits, reported };
}

test("levels that are there are asked for once", async () => {
  const { levels, waits, reported } = await waited(answering(LEVELS));
  equal([levels, waits, reported], [LEVELS, [], 0]);
});

test("levels that are being made are asked for ever less often", async () => {
  const { levels, waits, reported } = await waited(answering(null, null, null, LEVELS));
  equal([levels, waits, reported], [LEVELS, [1000, 1500, 2250], 1]);
});

test("the asking ends, after minutes", async () => {
  const { levels, waits } = await waited(answering(null));
  equal(levels, null);
  equal([waits.length, Math.max(...waits)], [19, 15000]);
  const minutes = waits.reduce((sum, ms) => sum + ms) / 60000;
  ok(minutes > 3 && minutes < 4, `${minutes} minutes`);
});

test("a network that is away for a while is borne, a conversation that is gone is not", async () => {
  const { levels } = await waited(answering(new TypeError("Failed to fetch"), LEVELS));
  equal(levels, LEVELS);
  const error = await waited(answering(new Error("404"))).catch((e) => e);
  equal(error.message, "404");
});

test("an answer without levels yet differs from one that never has any", async () => {
  const reply = (status, body) => async () => new Response(JSON.stringify(body), { status });
  equal(await fetchLevels("/", reply(202, { ready: false })), null);
  equal(await fetchLevels("/", reply(200, LEVELS)), LEVELS);
  equal(await fetchLevels("/", reply(503, {})), null);
  const error = await fetchLevels("/", reply(404, {})).catch((e) => e);
  equal(error.message, "404");
});
