import { deepEqual as equal, ok } from "node:assert/strict";
import { test } from "node:test";

import { LiveController } from "../../static/js/live/controller.js";
import { textsFor } from "../../static/js/live/notes.js";

const READY = {
  type: "ready",
  conversation: "c1",
  context_seconds: 240,
  sampling: { top_k_text: 5 },
  seed: 7,
  rewinds: true,
};

/** A controller with parts that note what it asks of them, and timers of its own. */
function setUp(t, { problem = null } = {}) {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  const seen = { phases: [], notices: new Map(), calls: [], countdown: [], titles: [], outcome: null, again: null };
  const view = {
    start: { focus: () => seen.calls.push("focus start") },
    phase: (phase, detail = {}) => {
      if (seen.phases.at(-1) !== phase) seen.phases.push(phase);
      seen.detail = detail;
    },
    again: (shown, busy) => (seen.again = shown && !busy),
    ended: (text, url, seed) => {
      view.phase("ended");
      seen.outcome = { text, url, seed };
    },
    problem: (what) => {
      view.phase("problem");
      seen.outcome = what;
    },
    kept: (url) => (seen.kept = url),
    countdown: (seconds) => seen.countdown.push(seconds),
  };
  for (const name of ["fresh", "focusStatus", "ready", "text", "rewound", "levels"]) view[name] = () => {};
  const notices = {
    show: (notice) => seen.notices.set(notice.code, notice),
    hide: (code) => seen.notices.delete(code),
    clear: () => seen.notices.clear(),
    replace: (code, notice) => (notice ? seen.notices.set(code, notice) : seen.notices.delete(code)),
  };
  const note = (name) => (...values) => seen.calls.push([name, ...values].join(" "));
  const controller = new LiveController(
    {
      view,
      notices,
      texts: textsFor("Ada"),
      title: { waiting: (n) => seen.titles.push(n), call: (text) => seen.titles.push(text), clear: () => {} },
      wakeLock: { hold: note("hold"), release: note("release") },
      devices: { microphone: () => {}, findMicrophone: note("find"), choose: note("choose"), retry: note("retry") },
      samples: { open: note("open samples"), enable: (live) => (seen.samples = live) },
      askedSampling: () => ({}),
      browserProblem: () => problem,
      makeConversation: async (sampling, listener) => {
        const conversation = { levels: () => ({ user: 0, agent: 0 }) };
        for (const name of ["begin", "end", "leave", "close", "wake", "setMuted", "rewind", "sayAgain"]) {
          conversation[name] = note(name);
        }
        Object.assign(seen, { sampling, listener, conversation });
        return conversation;
      },
      reviewUrl: (id) => `/conversations/${id}/`,
      showFacts: () => {},
      ring: note("ring"),
    },
    (error) => {
      throw error;
    },
  );
  const site = (state, seconds) => seen.listener.state({ type: "state", state, seconds });
  const ready = () => {
    seen.conversation.ready = READY;
    seen.listener.ready(READY);
    site("live");
  };
  /** Until it is live, with a microphone. */
  const talk = async () => {
    await controller.begin();
    site("connecting");
    seen.listener.microphone({ label: "A" }, null, "first");
    site("priming");
    ready();
  };
  return { controller, seen, site, ready, talk };
}

test("the page shows each state until the conversation is kept", async (t) => {
  const { controller, seen, talk } = setUp(t);
  await talk();
  controller.end();
  seen.listener.ended({ text: "You ended it" });
  equal(seen.phases, ["idle", "connecting", "priming", "live", "ending", "ended"]);
  equal(seen.outcome, { text: "You ended it", url: "/conversations/c1/", seed: 7 });
  equal(controller.applied, { top_k_text: 5, seed: 7 });
  equal(seen.calls, ["begin", "hold", "end", "release"]);
  await controller.begin(controller.applied);
  equal([seen.sampling.seed, seen.phases.at(-1)], [7, "connecting"]);
});

test("a second click begins nothing", async (t) => {
  const { controller, seen } = setUp(t);
  await Promise.all([controller.begin(), controller.begin()]);
  equal(seen.calls, ["begin"]);
});

test("what is cancelled before it has begun does not begin", async (t) => {
  const { controller, seen } = setUp(t);
  const begun = controller.begin();
  controller.end();
  await begun;
  equal([seen.phases, seen.calls.includes("begin")], [["idle", "connecting", "idle"], false]);
  equal(controller.conversation, null);
});

test("while the browser asks for the microphone the page says so, and does not go back", async (t) => {
  const { controller, seen, site, ready } = setUp(t);
  await controller.begin();
  site("priming");
  ready();
  equal([seen.phases.at(-1), seen.again, seen.samples], ["permission", false, false]);
  controller.rewind(5);
  seen.listener.microphone(null, { code: "x", text: "None.", retryable: true }, "first");
  equal([seen.phases.at(-1), seen.again, seen.samples], ["live", true, true]);
  ok(seen.detail.silent && seen.notices.get("microphone").text.startsWith("None."), "no microphone");
  ok(seen.calls.includes("open samples") && !seen.calls.includes("rewind 5"), `${seen.calls}`);
});

test("a place in the queue is shown, tried now and then, and called", async (t) => {
  const { controller, seen, site, ready } = setUp(t);
  await controller.begin();
  site("connecting");
  seen.listener.microphone({ label: "A" }, null, "first");
  for (const position of [2, 1]) {
    site("priming"); // asks for a place: there is none
    t.mock.timers.tick(300);
    site("waiting");
    seen.listener.waiting({ type: "waiting", position, of: 2, eta_s: 9, ticket: "t" });
    t.mock.timers.tick(5000);
  }
  equal([seen.phases.slice(2), seen.titles], [["priming", "waiting"], [2, 1]]);
  site("priming");
  t.mock.timers.tick(1000);
  equal(seen.phases.at(-1), "priming"); // it takes long enough to be one
  ready();
  equal([seen.phases.at(-1), seen.titles.at(-1)], ["live", "Your turn: Ada"]);
  ok(seen.calls.includes("ring [object Object]"), "it rings");
});

test("the queue can be left, and a conversation that is live can't be cancelled", async (t) => {
  const { controller, seen, site, talk } = setUp(t);
  await controller.begin();
  site("waiting");
  controller.end();
  equal([seen.phases.at(-1), seen.calls.slice(1)], ["idle", ["leave", "release", "focus start"]]);
  await talk();
  controller.end();
  controller.end();
  equal(seen.calls.filter((call) => call === "end" || call === "leave"), ["leave", "end"]);
});

test("being muted outlasts a lost connection and a recovery", async (t) => {
  const { controller, seen, site, ready, talk } = setUp(t);
  await talk();
  controller.toggleMute();
  seen.listener.lost(Date.now() + 30_000);
  equal([seen.phases.at(-1), Math.round(seen.detail.seconds), seen.again], ["resuming", 30, false]);
  t.mock.timers.tick(10_000);
  equal(Math.round(seen.detail.seconds), 20);
  site("resuming");
  site("recovering", 4);
  equal([seen.phases.at(-1), seen.detail.seconds], ["recovering", 4]);
  ready();
  equal(seen.phases.slice(-4), ["muted", "resuming", "recovering", "muted"]);
  controller.toggleMute();
  equal(seen.phases.at(-1), "live");
  equal(seen.calls.filter((call) => call.startsWith("setMuted")), ["setMuted true", "setMuted false"]);
});

test("going back ends with an answer, a refusal, or after 15 s", async (t) => {
  const { controller, seen, site, talk } = setUp(t);
  await talk();
  const rewound = { type: "rewound", frame: 9, seconds: 5, context_seconds: 200 };
  for (const answer of [
    () => seen.listener.rewound(rewound),
    () => seen.listener.notice({ type: "notice", code: "nothing_said", text: "Nothing." }),
    () => t.mock.timers.tick(15_000),
  ]) {
    controller.rewind(5);
    controller.rewind(5); // nothing: it goes back already
    site("recovering", 3);
    equal([seen.phases.at(-1), seen.detail.rewinding], ["recovering", true]);
    answer();
    equal([seen.phases.at(-1), seen.again], ["live", true]);
  }
  equal(seen.calls.filter((call) => call === "rewind 5").length, 3);
  seen.listener.rewound(rewound); // late, and harmless
  equal(seen.phases.at(-1), "live");
});

test("sound that the browser stops is a pause once it lasts", async (t) => {
  const { seen, talk } = setUp(t);
  await talk();
  seen.listener.paused(true, true);
  t.mock.timers.tick(400);
  seen.listener.paused(false, true);
  t.mock.timers.tick(1000);
  equal([seen.phases.at(-1), seen.notices.size], ["live", 0]);
  seen.listener.paused(true, true);
  t.mock.timers.tick(600);
  equal([seen.phases.at(-1), [...seen.notices.keys()]], ["paused", ["paused"]]);
  seen.listener.paused(false, true);
  equal([seen.phases.at(-1), seen.notices.size, seen.calls.at(-1)], ["live", 0, "retry"]);
});

test("a problem that may pass is tried again by itself", async (t) => {
  const { controller, seen } = setUp(t);
  await controller.begin();
  seen.listener.problem({ code: "worker_busy", text: "Full.", retryable: true, retry_after_s: 2 });
  equal([seen.phases.at(-1), seen.kept, seen.countdown], ["problem", null, [2]]);
  t.mock.timers.tick(2000);
  await Promise.resolve();
  equal([seen.phases.at(-1), seen.countdown], ["connecting", [2, 1, null]]);
});

test("a browser that can't talk says why, at once and at each attempt", async (t) => {
  const problem = { code: "insecure", text: "Only secure pages.", retryable: false };
  const { controller, seen } = setUp(t, { problem });
  equal([seen.phases, seen.outcome], [["problem"], problem]);
  seen.outcome = null;
  await controller.begin();
  equal([seen.phases, seen.outcome], [["problem"], problem]);
});

test("what the site never should say is an error that changes nothing", async (t) => {
  const { seen, site, talk } = setUp(t);
  await talk();
  let error = null;
  try {
    site("priming");
  } catch (thrown) {
    error = thrown;
  }
  equal([error?.name, seen.phases.at(-1)], ["IllegalTransition", "live"]);
});

test("a page that was left and is shown again tells that it is over", async (t) => {
  const { controller, seen, talk } = setUp(t);
  await talk();
  controller.leavePage();
  controller.comeBack();
  equal([seen.phases.at(-1), seen.outcome.text], ["ended", "The page was left."]);
});
