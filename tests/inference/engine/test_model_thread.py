import threading
import time

import numpy as np
import pytest

from inference.engine.api import FrameLog, SessionConfig
from inference.engine.model_thread import DeviceLost, ModelThread, is_device_error
from inference.engine.schedule import MAX_VOICE_JOBS
from inference.errors import (
    ModelError,
    ProtocolError,
    RolePromptError,
    WorkerBusy,
    WorkerStopping,
)
from tests.inference.echo_engine import (
    BAD_TOKEN,
    BREAKS_THE_DEVICE,
    BREAKS_THE_STEP,
    EchoEngine,
    frame_of,
)

PATIENCE = 10


class Ear:
    """A listener that remembers its calls, and by which thread."""

    def __init__(self):
        self.primed_info, self.results, self.error = None, [], None
        self.caught_up_at = []
        self.threads = set()
        self._changed = threading.Condition()

    def _note(self):
        self.threads.add(threading.current_thread().name)
        self._changed.notify_all()

    def primed(self, info):
        with self._changed:
            self.primed_info = info
            self._note()

    def caught_up(self, frame):
        with self._changed:
            self.caught_up_at.append(frame)
            self._note()

    def frame(self, result):
        with self._changed:
            self.results.append(result)
            self._note()

    def failed(self, error):
        with self._changed:
            assert self.error is None, "reported twice"
            self.error = error
            self._note()

    def wait(self, condition):
        with self._changed:
            assert self._changed.wait_for(lambda: condition(self), PATIENCE)


def config(name="one", **fields):
    return SessionConfig(conversation=name, **fields)


@pytest.fixture
def started():
    threads = []

    def start(engine, **options):
        thread = ModelThread(lambda: engine, **options)
        threads.append(thread)
        thread.start()
        thread.loaded.result(PATIENCE)
        return thread

    yield start
    for thread in threads:
        thread.stop()


def opened(thread, name="one", **fields):
    ear = Ear()
    session = thread.open(config(name, **fields), ear)
    ear.wait(lambda e: e.primed_info or e.error)
    return session, ear


def test_a_session_is_primed_then_answers_every_frame_in_order(started):
    thread = started(EchoEngine(), queue_frames=10)
    session, ear = opened(thread)
    assert ear.primed_info.prompt_frames == 10
    for number in range(10):
        session.push(number + 100, frame_of(number))
    ear.wait(lambda e: len(e.results) == 10)
    assert [r.frame for r in ear.results] == list(range(10))
    assert [r.seq for r in ear.results] == list(range(100, 110))
    assert [int(r.pcm[0]) for r in ear.results] == [0, *range(9)]
    assert all(r.dropped == 0 for r in ear.results)
    assert ear.results[0].piece == " 1" and ear.results[0].tokens.dtype == np.uint16


def test_a_rebuilt_session_counts_on_from_its_log(started):
    thread = started(EchoEngine())
    log = FrameLog(np.zeros((40, 17), np.uint16), np.zeros((0, 1920), np.int16))
    session, ear = opened(thread, log=log)
    for seq in (57, 58):
        session.push(seq, frame_of(seq))
    ear.wait(lambda ear: len(ear.results) == 2)
    assert [(r.frame, r.seq) for r in ear.results] == [(40, 57), (41, 58)]


def frames_said(count):
    sound = np.stack([frame_of(n) for n in range(count)]) if count else frame_of(0)[:0]
    return FrameLog(np.zeros((count, 17), np.uint16), sound.reshape(count, 1920))


def test_a_session_whose_log_grows_waits_for_the_rest(started):
    thread = started(EchoEngine())
    ear = Ear()
    session = thread.open(config(log=frames_said(40), more=True), ear)
    ear.wait(lambda ear: ear.caught_up_at == [40])
    session.push(99, frame_of(99))  # it isn't stepped before it is live
    session.extend(frames_said(5), more=True)
    ear.wait(lambda ear: ear.caught_up_at == [40, 45])
    assert not ear.results and ear.primed_info is None
    session.extend(frames_said(0), more=False)
    ear.wait(lambda ear: ear.results)
    assert (ear.results[0].frame, ear.results[0].seq) == (45, 99)
    assert ear.results[0].pcm[0] == 4  # the last that was said elsewhere
    assert ear.primed_info.context_frames == 2990 - 45


def test_a_held_session_that_is_closed_frees_its_slot(started):
    thread = started(EchoEngine(slots=1))
    ear = Ear()
    session = thread.open(config(more=True), ear)
    ear.wait(lambda ear: ear.caught_up_at)
    session.close()
    session.extend(frames_said(1), more=False)
    _, ear = opened(thread, "two")
    assert ear.error is None


def test_an_extension_that_the_engine_refuses_ends_that_session(started):
    thread = started(EchoEngine(slots=1))
    ear = Ear()
    session = thread.open(config(more=True), ear)
    ear.wait(lambda ear: ear.caught_up_at)
    bad = FrameLog(np.full((1, 17), BAD_TOKEN, np.uint16), frames_said(1).user_pcm)
    session.extend(bad, more=False)
    ear.wait(lambda ear: ear.error)
    assert isinstance(ear.error, ProtocolError) and thread.stats().sessions == 0


def test_a_session_is_replaced_in_its_place_and_tells_nothing_more(started):
    engine = EchoEngine(slots=1)
    thread = started(engine)
    session, ear = opened(thread)
    engine.held.clear()
    session.push(0, frame_of(0))
    while not thread.busy_seconds():
        time.sleep(0.001)
    after = Ear()
    new = session.replace(config(log=frames_said(7)), after)
    with pytest.raises(WorkerBusy):
        thread.open(config("two"), Ear())
    engine.held.set()
    after.wait(lambda ear: ear.primed_info)
    new.push(1, frame_of(1))
    after.wait(lambda ear: ear.results)
    assert after.results[0].frame == 7 and ear.results == []
    assert thread.stats().sessions == 1
    new.close()
    assert thread.stats().sessions == 0


def test_only_one_thread_ever_touches_the_engine(started):
    engine = EchoEngine()
    thread = started(engine)
    session, ear = opened(thread)
    session.push(0, frame_of(0))
    ear.wait(lambda e: e.results)
    thread.encode_voice(np.zeros(10, np.float32), lambda done: None).result(PATIENCE)
    assert engine.threads == ear.threads == {"model"}


def test_a_full_engine_says_busy_at_once_and_a_closed_slot_is_free_at_once(started):
    thread = started(EchoEngine(slots=1))
    session, _ = opened(thread)
    with pytest.raises(WorkerBusy):
        thread.open(config("two"), Ear())
    session.close()
    session.close()
    _, ear = opened(thread, "two")
    assert ear.error is None and thread.stats().sessions == 1


def test_an_open_that_the_engine_refuses_frees_its_place(started):
    thread = started(EchoEngine(slots=1))
    _, ear = opened(thread, role_prompt="x" * 2000)
    assert isinstance(ear.error, RolePromptError)
    _, ear = opened(thread, "two")
    assert ear.primed_info is not None


def test_a_session_closed_before_it_is_primed_is_never_called(started):
    engine = EchoEngine(slots=1, chunk_seconds=0.02)
    thread = started(engine)
    ear = Ear()
    session = thread.open(config(role_prompt="x" * 500), ear)
    time.sleep(0.05)
    session.close()
    opened(thread, "two")
    assert ear.primed_info is None and ear.error is None


def test_nothing_is_reported_after_close(started):
    engine = EchoEngine(tick_seconds=0.05)
    thread = started(engine)
    session, ear = opened(thread)
    session.push(0, frame_of(0))
    time.sleep(0.02)
    session.close()
    session.push(1, frame_of(1))
    time.sleep(0.1)
    assert ear.results == []


def test_a_stall_is_repaid_and_beyond_the_bound_the_oldest_are_dropped(started):
    engine = EchoEngine()
    thread = started(engine, queue_frames=4)
    session, ear = opened(thread)
    engine.held.clear()
    session.push(0, frame_of(0))
    while not thread.busy_seconds():
        time.sleep(0.001)
    for number in range(1, 11):
        session.push(number, frame_of(number))
    time.sleep(0.1)
    engine.held.set()
    ear.wait(lambda e: len(e.results) == 5)
    assert [r.seq for r in ear.results] == [0, 7, 8, 9, 10]
    assert [r.dropped for r in ear.results] == [0, 6, 0, 0, 0]
    assert all(r.late for r in ear.results)
    stats = thread.stats()
    assert (stats.dropped_frames, stats.late_frames, stats.frames) == (6, 5, 5)
    session.push(11, frame_of(11))
    ear.wait(lambda e: len(e.results) == 6)
    assert not ear.results[-1].late


def test_where_batches_cost_the_sum_sessions_take_turns(started):
    engine = EchoEngine(slots=2, tick_seconds=0.01)
    thread = started(engine)
    (one, ear), (two, other) = opened(thread, "1"), opened(thread, "2")
    engine.held.clear()
    for number in range(3):
        one.push(number, frame_of(number))
        two.push(number, frame_of(number))
    engine.held.set()
    ear.wait(lambda e: len(e.results) == 3)
    other.wait(lambda e: len(e.results) == 3)
    batches = [slots for kind, slots in engine.calls if kind == "step"]
    assert batches == [(0,), (1,)] * 3


def test_where_batches_are_cheap_waiting_frames_share_a_tick(started):
    engine = EchoEngine(slots=3, tick_seconds=0.03)
    thread = started(engine, batches=True)
    sessions = [opened(thread, str(n)) for n in range(3)]
    for number in range(5):
        for session, _ in sessions:
            session.push(number, frame_of(number))
    for _, ear in sessions:
        ear.wait(lambda e: len(e.results) == 5)
    batches = [slots for kind, slots in engine.calls if kind == "step"]
    assert len(batches) <= 8 and (0, 1, 2) in batches


def test_where_batches_are_cheap_a_tick_waits_for_a_frame_that_is_due(started):
    engine = EchoEngine(slots=2)
    thread = started(engine, batches=True, grace_ms=30)
    (one, ear), (two, other) = opened(thread, "1"), opened(thread, "2")
    for number in range(4):  # the second always comes 5 ms after the first
        one.push(number, frame_of(number))
        time.sleep(0.005)
        two.push(number, frame_of(number))
        time.sleep(0.075)
    ear.wait(lambda e: len(e.results) == 4)
    other.wait(lambda e: len(e.results) == 4)
    batches = [slots for kind, slots in engine.calls if kind == "step"]
    assert (0, 1) in batches[1:]


def test_prefill_continues_when_ticks_leave_no_gap(started):
    engine = EchoEngine(slots=2, tick_seconds=0.01)
    thread = started(engine, queue_frames=1000)
    busy, _ = opened(thread, "busy")
    for number in range(300):  # three seconds of ticks without a gap
        busy.push(number, frame_of(number))
    began = time.perf_counter()
    _, ear = opened(thread, "second", role_prompt="x" * 20)  # four chunks
    assert ear.primed_info is not None
    assert time.perf_counter() - began < 2
    steps_then = sum(kind == "step" for kind, _ in engine.calls)
    assert 50 < steps_then < 250  # chunks came between ticks, not instead of them


def test_a_voice_is_encoded_between_ticks(started):
    engine = EchoEngine(chunk_seconds=0.01)
    thread = started(engine)
    session, ear = opened(thread)
    reports = []
    future = thread.encode_voice(np.zeros(10, np.float32), reports.append)
    for number in range(20):
        session.push(number, frame_of(number))
        time.sleep(0.005)
    assert future.result(PATIENCE).startswith(b"voice of ")
    ear.wait(lambda e: len(e.results) == 20)
    assert reports == sorted(reports) and reports[-1] == 1.0


def test_too_many_voices_are_refused_and_a_cancelled_one_makes_room(started):
    engine = EchoEngine(chunk_seconds=0.05)
    thread = started(engine)

    def encode():
        return thread.encode_voice(np.zeros(10, np.float32), lambda done: None)

    futures = [encode() for _ in range(MAX_VOICE_JOBS)]
    with pytest.raises(WorkerBusy):
        encode()
    began = time.perf_counter()
    for future in futures:
        assert future.cancel()
    while time.perf_counter() - began < PATIENCE:
        try:
            assert encode().result(PATIENCE)
            break
        except WorkerBusy:
            time.sleep(0.02)
    assert time.perf_counter() - began < 2


def test_a_failing_step_ends_the_sessions_of_that_tick_only(started, caplog):
    engine = EchoEngine()
    thread = started(engine)
    (bad, bad_ear), (good, good_ear) = opened(thread, "bad"), opened(thread, "good")
    bad.push(0, frame_of(BREAKS_THE_STEP))
    bad_ear.wait(lambda e: e.error)
    assert isinstance(bad_ear.error, ModelError)
    assert "[bad] could not step: a row went wrong" in caplog.text
    assert "Traceback" in caplog.text
    good.push(0, frame_of(0))
    good_ear.wait(lambda e: e.results)
    assert thread.stats().sessions == 1 and 0 not in engine.rows


def test_a_device_error_fails_every_session_and_ends_the_thread(started):
    thread = started(EchoEngine())
    (one, ear), (_, other) = opened(thread, "1"), opened(thread, "2")
    job = thread.encode_voice(np.zeros(10, np.float32), lambda done: time.sleep(0.02))
    one.push(0, frame_of(BREAKS_THE_DEVICE))
    ear.wait(lambda e: e.error)
    other.wait(lambda e: e.error)
    assert isinstance(other.error, ModelError)
    assert isinstance(thread.ended.exception(PATIENCE), DeviceLost)
    assert "CUDA error" in str(thread.ended.exception(PATIENCE))
    assert isinstance(job.exception(PATIENCE), ModelError)
    with pytest.raises(WorkerStopping):
        thread.open(config(), Ear())


@pytest.mark.parametrize(
    ("said", "device"),
    [("Triton Error [CUDA]: an illegal memory access", True), ("a shape", False)],
)
def test_an_error_of_the_device_is_distinguished_from_one_of_ours(said, device):
    assert is_device_error(RuntimeError(said)) is device


def test_an_engine_that_fails_every_tick_is_given_up(started):
    thread = started(EchoEngine())
    for name in "abc":
        session, ear = opened(thread, name)
        session.push(0, frame_of(BREAKS_THE_STEP))
        ear.wait(lambda e: e.error)
    assert "3 ticks failed in a row" in str(thread.ended.exception(PATIENCE))


def test_an_engine_that_cannot_be_loaded_is_reported():
    def load():
        raise RuntimeError("no weights")

    thread = ModelThread(load)
    thread.start()
    assert "no weights" in str(thread.loaded.exception(PATIENCE))
    assert "no weights" in str(thread.ended.exception(PATIENCE))


def test_stop_tells_the_sessions_that_are_left(started):
    thread = started(EchoEngine())
    _, ear = opened(thread)
    thread.stop()
    assert isinstance(ear.error, WorkerStopping)
    assert thread.ended.result(PATIENCE) is None


def test_stats_know_the_percentiles_of_ticks(started):
    thread = started(EchoEngine(tick_seconds=0.01), queue_frames=10)
    session, ear = opened(thread)
    for number in range(10):
        session.push(number, frame_of(number))
    ear.wait(lambda e: len(e.results) == 10)
    stats = thread.stats()
    assert stats.ticks == 10 and 9 < stats.tick_p50_ms <= stats.tick_p99_ms < 80
