import { deepEqual as equal, ok, throws } from "node:assert/strict";
import { test } from "node:test";

import { IllegalTransition, StateMachine, TRANSITIONS } from "../../static/js/live/states.js";

function machine() {
  return new StateMachine((error) => {
    throw error;
  });
}

/** The states after each of the events. */
function course(...events) {
  const talk = machine();
  return events.map((event) => {
    talk.send(event);
    return talk.state;
  });
}

test("a conversation begins, is talked in and ends", () => {
  equal(course("start", "connecting", "priming", "ready", "live", "end", "ended", "start"), [
    "connecting", "connecting", "priming", "live", "live", "ending", "ended", "connecting",
  ]);
});

test("who waits in the queue is let in, or leaves it", () => {
  equal(course("start", "waiting", "priming", "waiting", "ready").at(-1), "live");
  equal(course("start", "waiting", "cancel").at(-1), "idle");
});

test("going back ends when the site says so, or is live, or is lost", () => {
  const live = ["start", "ready", "rewind", "recovering"];
  equal(course(...live).at(-1), "rewinding");
  equal(course(...live, "rewound", "live").at(-1), "live");
  equal(course(...live, "live").at(-1), "live");
  equal(course(...live, "lost").at(-1), "resuming");
});

test("a lost connection is resumed by `ready`, over a recovery where it takes one", () => {
  const lost = ["start", "ready", "lost", "resuming"];
  equal(course(...lost, "ready").at(-1), "live");
  equal(course(...lost, "recovering", "ready", "live").at(-1), "live");
  equal(course(...lost, "recovering", "resuming").at(-1), "resuming");
  equal(course(...lost, "live").at(-1), "resuming");
});

test("while it ends only the end counts", () => {
  equal(course("start", "ready", "end", "lost", "resuming", "recovering", "ready", "live").at(-1), "ending");
  equal(course("start", "ready", "end", "failed").at(-1), "problem");
});

test("an event that a state does not expect is an error, and changes nothing", () => {
  const illegal = [
    [[], "ready"],
    [["start"], "start"],
    [["start"], "end"],
    [["start", "priming"], "rewind"],
    [["start", "ready"], "cancel"],
    [["start", "ready", "lost"], "rewind"],
    [["start", "ready", "end"], "end"],
    [["start", "failed"], "ended"],
  ];
  for (const [before, event] of illegal) {
    const reached = machine();
    for (const each of before) reached.send(each);
    const { state } = reached;
    equal(reached.can(event), false);
    throws(() => reached.send(event), IllegalTransition, `${event} in ${state}`);
    equal(reached.state, state);
  }
});

test("every state is reached, and each conversation can end in a problem", () => {
  const reached = new Set(["idle"]);
  for (const state of reached) Object.values(TRANSITIONS[state]).forEach((next) => reached.add(next));
  equal([...reached].sort(), Object.keys(TRANSITIONS).sort());
  for (const [state, transitions] of Object.entries(TRANSITIONS)) {
    equal(transitions.failed, "problem", state);
    ok(Object.values(transitions).every((next) => next in TRANSITIONS), state);
  }
});
