import dataclasses
import json

import numpy as np
import pytest

from inference import errors
from inference.engine.api import MAX_LOG_FRAMES, FrameLog, FrameResult, Sampling
from inference.errors import (
    NoSession,
    PersonaplexError,
    ProtocolError,
    RolePromptError,
    TakenOver,
    WorkerBusy,
    WorkerStopping,
)
from inference.worker import protocol
from inference.worker.protocol import (
    Attach,
    CaughtUp,
    Draining,
    EncodeVoice,
    End,
    Failed,
    More,
    Open,
    Park,
    Ready,
    UserFrame,
    VoiceProgress,
    VoiceWanted,
)

MESSAGES = [
    Open("c", "Hello.", "d" * 64, Sampling(greedy=True, seed=2**62)),
    Open(
        "c",
        pin_prompt=False,
        keep_s=30,
        log_frames=MAX_LOG_FRAMES,
        log_sound=2048,
        more=True,
    ),
    More(3, 3, True),
    Attach("c", 2**32, 12.5),
    Park(),
    VoiceWanted("d" * 64),
    Ready(1, "tiny", "f", False, 40, 12.5, 2960, 120, 258),
    CaughtUp(7),
    Draining(20.0),
    End(),
    Failed("worker_busy", "Full.", True, "2 of 2"),
    EncodeVoice(24_000, "f"),
    VoiceProgress(0.5),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_survives_the_wire(message):
    assert protocol.parse(protocol.dump(message)) == message


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "open", "conversation": "x", "sampling": {"seed": -1}},
        {"type": "open", "conversation": "x", "sampling": {"seed": 2**63}},
        {"type": "open", "conversation": "x", "sampling": {"seed": True}},
        {"type": "open", "conversation": "x", "sampling": {"top_k_audio": 0}},
        {"type": "open", "conversation": "x", "sampling": {"temperature_text": 11}},
        {"type": "open", "conversation": "x", "sampling": {"greedy": "yes"}},
        {"type": "open", "conversation": "x", "sampling": []},
        {"type": "open", "conversation": None},
        {"type": ["open"]},
        {"type": "voice_progress", "done": "all"},
        {"type": "open", "conversation": "x", "keep_s": -1},
        {"type": "open", "conversation": "x", "keep_s": 3601},
        {"type": "open", "conversation": "x", "keep_s": float("nan")},
        {"type": "open", "conversation": "x", "log_frames": -1},
        {"type": "open", "conversation": "x", "log_frames": MAX_LOG_FRAMES + 1},
        {"type": "open", "conversation": "x", "log_frames": 1, "log_sound": 2},
        {"type": "open", "conversation": "x", "log_frames": 5000, "log_sound": 2049},
        {"type": "open", "conversation": "x", "log_frames": 1.5},
        {"type": "open", "conversation": "x", "more": 1},
        {"type": "open", "conversation": "x", "pin_prompt": "no"},
        {"type": "open", "conversation": "x", "more": None},
        {"type": "more", "log_frames": 2, "log_sound": 1},
        {"type": "more", "log_frames": 2049, "log_sound": 2049},
        {"type": "attach", "conversation": "x", "have": -1},
        {"type": "attach", "conversation": "x", "have": 2**40},
        {"type": "attach", "conversation": "x", "keep_s": float("inf")},
        {"type": "attach"},
    ],
)
def test_wrong_fields_are_refused(fields):
    with pytest.raises(ProtocolError):
        protocol.parse(json.dumps(fields))


def test_a_user_frame_survives_the_wire():
    pcm = np.arange(1920, dtype=np.int16)
    frame = UserFrame.decode(UserFrame(2**32 - 1, pcm).encode())
    assert frame.seq == 2**32 - 1 and (frame.pcm == pcm).all()


@pytest.mark.parametrize("late", [True, False])
def test_an_agent_frame_survives_the_wire(late):
    result = FrameResult(
        frame=7,
        seq=9,
        dropped=2,
        queue_us=1500,
        tick_us=20_000,
        late=late,
        tokens=np.arange(17, dtype=np.uint16),
        piece=" héllo",
        pcm=np.arange(1920, dtype=np.int16),
    )
    found = protocol.decode_agent_frame(protocol.encode_agent_frame(result))
    assert (found.tokens == result.tokens).all() and (found.pcm == result.pcm).all()
    for name in ("frame", "seq", "dropped", "queue_us", "tick_us", "late", "piece"):
        assert getattr(found, name) == getattr(result, name)


@pytest.mark.parametrize("data", [b"", b"\x02", bytes(3848), b"\x02" + bytes(4000)])
def test_what_is_no_frame_is_refused(data):
    with pytest.raises(ProtocolError):
        protocol.decode_agent_frame(data)
    with pytest.raises(ProtocolError):
        UserFrame.decode(data)


@pytest.mark.parametrize(("frames", "sound"), [(0, 0), (5, 0), (5, 3), (300, 258)])
def test_a_log_survives_the_wire_in_pieces(frames, sound):
    chance = np.random.default_rng(1)
    tokens = chance.integers(0, 2**16, (frames, 17)).astype(np.uint16)
    pcm = chance.integers(-(2**15), 2**15, (sound, 1920)).astype(np.int16)
    pieces = list(protocol.encode_log(FrameLog(tokens, pcm), piece=100_000))
    assert all(len(piece) <= 100_001 for piece in pieces)
    data = b"".join(protocol.decode_blob(protocol.LOG, piece) for piece in pieces)
    assert len(data) == protocol.log_bytes(frames, sound)
    found = protocol.decode_log(frames, sound, data)
    assert (found.tokens.dtype, found.user_pcm.dtype) == (np.uint16, np.int16)
    assert np.array_equal(found.tokens, tokens)
    assert np.array_equal(found.user_pcm, pcm)


def test_an_error_survives_the_wire():
    busy = WorkerBusy("all 2 slots are taken")
    found = protocol.rebuild(protocol.describe(busy))
    assert isinstance(found, WorkerBusy) and str(found) == "all 2 slots are taken"
    assert found.retryable
    for error in (
        WorkerStopping(),
        RolePromptError("long", text="Shorter, please."),
        TakenOver(),
        NoSession("unknown"),
    ):
        found = protocol.rebuild(protocol.describe(error))
        assert type(found) is type(error) and found.text == error.text


def test_each_error_of_the_family_can_be_rebuilt():
    family = {e for e in vars(errors).values() if isinstance(e, type)}
    assert set(errors.WORKER_ERRORS.values()) == family - {PersonaplexError}
    assert all(kind.code == code for code, kind in errors.WORKER_ERRORS.items())


def test_an_error_defined_elsewhere_is_never_rebuilt():
    """Which class an error becomes must not depend on what else was imported."""

    class Impostor(PersonaplexError):
        code = "worker_busy"

    class Local(PersonaplexError):
        code = "local"

    assert type(protocol.rebuild(Failed("worker_busy", "Full.", True))) is WorkerBusy
    assert type(protocol.rebuild(Failed("local", "No.", False))) is PersonaplexError
    assert (
        Impostor.code in errors.WORKER_ERRORS and Local.code not in errors.WORKER_ERRORS
    )


def test_an_error_of_a_newer_worker_keeps_its_code():
    found = protocol.rebuild(Failed("on_fire", "It burns.", True))
    assert type(found) is PersonaplexError and found.retryable
    assert found.as_event() == {
        "code": "on_fire",
        "text": "It burns.",
        "retryable": True,
    }


def wrong(**fields):
    return json.dumps({"type": "open", "conversation": "x", **fields})


HOSTILE = {
    "not JSON": ("{", "not JSON"),
    "deep": ("[" * 60_000, "not JSON"),
    "deep where a field is due": (wrong()[:-1] + ',"a":' + "[" * 60_000, "not JSON"),
    "a lone surrogate": ('{"type":"open","conversation":"\\ud800"}', "not JSON"),
    "an integer of 5,000 digits": (
        wrong()[:-1] + ',"version":' + "9" * 5000 + "}",
        "not JSON",
    ),
    "an integer of 4,000 digits": (
        wrong(sampling={"top_k_text": 10**3999}),
        "a top-k that is not from 1 to 65536",
    ),
    "a seed of 4,000 digits": (wrong(sampling={"seed": 10**3999}), "a seed"),
    "a number beyond floats": (
        wrong(sampling={"temperature_text": 10**400}),
        "open.sampling.temperature_text must be a finite number",
    ),
    "a list": ("[]", "not a JSON object"),
    "null": ("null", "not a JSON object"),
    "no type": ("{}", "no known type of message"),
    "an unknown type": ('{"type":"shout"}', "no known type of message"),
    "a type as long as allowed": (
        json.dumps({"type": "x" * 65_000}),
        "no known type of message",
    ),
    "too long": (json.dumps({"type": "x" * 65_536}), "at most 65536"),
    "unknown field": (wrong(shout=1), "unknown field 'open.shout'"),
    "unknown field inside": (
        wrong(sampling={"shout": 1}),
        "unknown field 'open.sampling.shout'",
    ),
    "thousands of unknown fields": (
        wrong(**{f"f{i}": 1 for i in range(5000)}),
        "5000 fields are unknown",
    ),
    "a long name of a field": (wrong(**{"x" * 60_000: 1}), "unknown field 'open.xxx"),
    "missing": ('{"type":"attach"}', "attach.conversation is missing"),
    "too much": (wrong(keep_s=3601), "open.keep_s must be at most 3600"),
    "not a whole number": (
        wrong(log_frames=1.5),
        "open.log_frames must be a whole number",
    ),
    "a bool for a number": (wrong(version=True), "open.version must be a whole number"),
}


@pytest.mark.parametrize(("text", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_refused_and_the_field_named(text, reason):
    with pytest.raises(ProtocolError) as refused:
        protocol.parse(text)
    assert reason in str(refused.value) and len(str(refused.value)) <= 200


def test_each_message_can_be_parsed():
    assert {type(message) for message in MESSAGES} == set(protocol.Message.__args__)


def test_the_engine_is_asked_for_what_the_message_says():
    opened = Open("c", "Be kind.", "d", Sampling(seed=3), more=True, pin_prompt=True)
    log = FrameLog(np.zeros((2, 17), np.uint16), np.zeros((0, 1920), np.int16))
    config = opened.config(b"voice", log)
    assert config.log is None  # none was announced
    for field in dataclasses.fields(config):
        if field.name not in ("voice", "log"):
            assert getattr(config, field.name) == getattr(opened, field.name)
    assert config.voice == b"voice"
    assert dataclasses.replace(opened, log_frames=2).config(None, log).log is log
