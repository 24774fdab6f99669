import { deepEqual as equal, ok } from "node:assert/strict";
import { test } from "node:test";

import { Link } from "../../static/js/live/link.js";
import { near } from "./near.js";

// What the link listens to in a browser's page.
const page = new EventTarget();
for (const name of ["addEventListener", "removeEventListener", "dispatchEvent"]) {
  globalThis[name] = page[name].bind(page);
}
globalThis.document = Object.assign(new EventTarget(), { visibilityState: "visible" });

/** Runs `body(clock)` with timers and a wall clock of its own; `clock.go(ms)` turns it. */
async function inFakeTime(body) {
  const { setTimeout, clearTimeout, setInterval, clearInterval } = globalThis;
  const { now } = Date;
  let time = 1_000_000;
  let ids = 0;
  const timers = new Map();
  const add = (run, ms, every) => timers.set((ids += 1), { run, at: time + ms, every }) && ids;
  Object.assign(globalThis, {
    setTimeout: (run, ms) => add(run, ms, null),
    setInterval: (run, ms) => add(run, ms, ms),
    clearTimeout: (id) => timers.delete(id),
    clearInterval: (id) => timers.delete(id),
  });
  Date.now = () => time;
  const clock = {
    go(ms, eachTenth = () => {}) {
      const until = time + ms;
      for (; time < until; time += 100, eachTenth()) {
        for (const [id, timer] of [...timers]) {
          if (timer.at > time || !timers.has(id)) continue;
          if (timer.every === null) timers.delete(id);
          else timer.at += timer.every;
          timer.run();
        }
      }
    },
    /** As a sleeping computer: time passes, timers don't run. */
    sleep(ms) {
      time += ms;
      for (const timer of timers.values()) timer.at = Math.max(timer.at, time);
    },
  };
  try {
    await body(clock);
  } finally {
    Object.assign(globalThis, { setTimeout, clearTimeout, setInterval, clearInterval });
    Date.now = now;
  }
}

function setUp({ siteAnswers } = {}) {
  const seen = { refuse: false, sockets: [], lost: [], problems: [], events: [], openedAt: [] };
  class Socket {
    constructor(_url, start, listener) {
      Object.assign(this, { start, listener, closed: false, sent: [] });
      seen.sockets.push(this);
      seen.openedAt.push(Date.now());
      if (seen.refuse) setTimeout(() => listener.closed(1006), 0);
    }
    send(event) {
      this.sent.push(event);
    }
    sendFrame() {
      return true;
    }
    close(code) {
      this.closed = code;
    }
  }
  const link = new Link({
    url: "wss://site.example/ws/",
    siteAnswers,
    start: { audio: "opus" },
    have: () => 41,
    listener: {
      event: (event) => seen.events.push(event),
      frame: () => {},
      lost: (until) => seen.lost.push(until),
      over: (problem) => seen.problems.push(problem.code),
    },
    Socket,
  });
  link.open();
  const socket = () => seen.sockets.at(-1);
  const ready = (token) => {
    socket().listener.opened();
    socket().listener.event({ type: "state", state: "connecting" });
    socket().listener.event({ type: "ready", conversation: "c", resume: token, resume_seconds: 30 });
    socket().listener.event({ type: "state", state: "live" });
  };
  const talk = () => {
    link.sendFrame(1, 0, new Uint8Array(1), false);
    socket().listener.frame({});
  };
  return { link, seen, socket, ready, talk };
}

test("a live site that is silent for 4 s is left, and the token resumes", () =>
  inFakeTime((clock) => {
    const { link, seen, socket, ready, talk } = setUp();
    ready("one");
    clock.go(5000, talk);
    equal(seen.sockets.length, 1);
    clock.go(3500);
    equal(seen.sockets.length, 1);
    clock.go(1500);
    equal(seen.sockets.length, 2);
    equal(seen.sockets[0].closed, 4001, "given up; 1000 would end the conversation");
    equal(socket().start, { audio: "opus", resume: { conversation: "c", token: "one", have: 41 } });
    equal(link.live, false);
    equal(link.sendFrame(1, 1, new Uint8Array(1), false), false);
    ready("two");
    equal([link.live, link.resumes, seen.lost.length], [true, 1, 1]);
    clock.go(1000, talk);
    socket().listener.closed(1006);
    clock.go(100);
    equal(socket().start.resume.token, "two");
    link.close();
    equal(socket().closed, 1000);
  }));

test("it tries at once, then after 0.5, 1, 2, 4 s, until the conversation is given up", () =>
  inFakeTime((clock) => {
    const { seen, socket, ready, talk } = setUp();
    ready("one");
    talk();
    const began = Date.now();
    seen.refuse = true;
    socket().listener.closed(1006);
    clock.go(35_000);
    const at = seen.openedAt.slice(1).map((time) => (time - began) / 1000);
    near(at[0], 0, 0.25);
    near(at[1] - at[0], 0.5, 0.25);
    near(at[2] - at[1], 1, 0.25);
    near(at[3] - at[2], 2, 0.25);
    near(at[4] - at[3], 4, 0.25);
    near(at[5] - at[4], 4, 0.25);
    ok(at.at(-1) <= 30, `last try after ${at.at(-1)} s`);
    equal(seen.problems, ["resume_too_late"]);
  }));

test("a socket that does not open is given up after 4 s, one that answers is waited for", () =>
  inFakeTime((clock) => {
    const { link, seen, socket, ready, talk } = setUp();
    ready("one");
    talk();
    socket().listener.closed(1006);
    clock.go(200);
    equal(seen.sockets.length, 2);
    clock.go(5500);
    equal(seen.sockets.length, 3);
    socket().listener.opened();
    socket().listener.event({ type: "state", state: "resuming" });
    clock.go(15_000);
    equal(seen.sockets.length, 3);
    link.close();
  }));

test("the site's own close codes are obeyed", () =>
  inFakeTime((clock) => {
    for (const [code, problems] of [[4409, ["closed_4409"]], [4429, ["closed_4429"]], [1000, ["closed_1000"]]]) {
      const { seen, socket, ready, talk } = setUp();
      ready("one");
      talk();
      socket().listener.closed(code);
      clock.go(3000);
      equal([seen.sockets.length, seen.problems], [1, problems]);
    }
    const { seen, socket, ready, talk } = setUp();
    ready("nought");
    talk();
    socket().listener.closed(1012);
    clock.go(200);
    equal(socket().start.resume.token, "nought");
    ready("one");
    talk();
    socket().listener.closed(4412);
    clock.go(200);
    equal(socket().start.resume.token, "one");
    socket().listener.opened();
    socket().listener.event({ type: "error", code: "resume_used", text: "", retryable: true });
    socket().listener.closed(4410);
    clock.go(3000);
    equal([seen.sockets.length, seen.problems], [3, []]); // the error event said it
  }));

test("without a token a lost conversation is over", () =>
  inFakeTime((clock) => {
    const { seen, socket, ready, talk } = setUp();
    ready(undefined);
    clock.go(1000, talk);
    clock.go(6000); // an old site may be silent for as long as it likes
    equal(seen.problems, []);
    socket().listener.closed(1006);
    equal(seen.problems, ["closed_1006"]);
  }));

for (const [answers, code] of [[true, "socket_blocked"], [false, "closed_1006"]]) {
  const what = answers ? "blocked where the site answers" : "out of reach where it does not";
  test(`a socket that never opens is ${what}`, async () => {
    const { seen, socket } = setUp({ siteAnswers: async () => answers });
    socket().listener.closed(1006);
    await Promise.resolve();
    await Promise.resolve();
    equal(seen.problems, [code]);
  });
}

test("who leaves while the site is asked hears no more of it", async () => {
  const { link, seen, socket } = setUp({ siteAnswers: async () => true });
  socket().listener.closed(1006);
  link.close();
  await Promise.resolve();
  await Promise.resolve();
  equal(seen.problems, []);
});

test("the place in the queue is kept by its ticket", () =>
  inFakeTime((clock) => {
    const { link, seen, socket } = setUp();
    socket().listener.opened();
    socket().listener.event({ type: "waiting", position: 2, of: 3, eta_s: 60, ticket: "t" });
    socket().listener.closed(1006);
    clock.go(200);
    equal(socket().start, { audio: "opus", ticket: "t" });
    equal([seen.problems, seen.lost], [[], []]);
    link.close();
  }));

test("another network: a glance, and it reconnects at once when nothing was heard", () =>
  inFakeTime((clock) => {
    const { link, seen, ready, talk } = setUp();
    ready("one");
    clock.go(1000, talk);
    dispatchEvent(new Event("online"));
    equal(seen.lost.length, 0);
    clock.go(1500);
    dispatchEvent(new Event("online"));
    clock.go(200);
    equal([seen.lost.length, seen.sockets.length], [1, 2]);
    link.close();
  }));

test("after a sleep it first listens, then resumes, or says that it is too late", () =>
  inFakeTime((clock) => {
    const short = setUp();
    short.ready("one");
    clock.go(1000, short.talk);
    clock.sleep(10_000);
    clock.go(100);
    equal(short.seen.sockets.length, 1);
    clock.go(1000);
    equal(short.seen.sockets.length, 2);
    short.link.close();
    const long = setUp();
    long.ready("one");
    clock.go(1000, long.talk);
    clock.sleep(300_000);
    clock.go(1500);
    equal(long.seen.problems, ["resume_too_late"]);
  }));

test("one moment is longer than 4 s", () =>
  inFakeTime((clock) => {
    const { link, seen, socket, ready, talk } = setUp();
    ready("one");
    clock.go(1000, talk);
    socket().listener.event({ type: "state", state: "recovering", seconds: 8 });
    clock.go(9000);
    equal(seen.sockets.length, 1);
    socket().listener.event({ type: "state", state: "live" });
    clock.go(5000);
    equal(seen.sockets.length, 2);
    link.close();
  }));
