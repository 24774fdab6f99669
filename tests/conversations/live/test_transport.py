"""Five seconds of real Opus at real pace, over a real worker socket."""

import asyncio
import time

import numpy as np

from conversations.audio.opus import Decoder
from conversations.frame_log.format import (
    DROPPED,
    GAP,
    unpack_timings,
    unpack_user_packets,
)
from conversations.frame_log.metrics import percentile
from tests.conversations.browser import tone

FRAMES = 63  # 5.04 s


def columns(chunks):
    timings = np.concatenate([unpack_timings(bytes(c.timings)) for c in chunks])
    users = [u for c in chunks for u in unpack_user_packets(bytes(c.user_packets))]
    return timings, users


async def test_five_seconds_at_real_pace(browser, worker, the_conversation):
    """Some microphone frames never come, some are dropped by the worker."""
    never_sent, dropped = {20, 21}, {40, 41, 42}
    worker.drop = dropped
    await browser.start()
    sound = tone(FRAMES)
    began = time.monotonic()

    async def listen():
        await browser.until_frame(FRAMES - 1, timeout=15)

    listening = asyncio.create_task(listen())
    for seq in range(FRAMES):
        await asyncio.sleep(max(0, began + 0.08 * seq - time.monotonic()))
        if seq not in never_sent:
            await browser.say(seq, sound[seq])
    await listening
    assert time.monotonic() - began < 5.04 + 1
    await browser.send_json_to({"type": "end"})
    assert await browser.until_closed() == 1000

    answered = [s for s in range(FRAMES) if s not in never_sent | dropped]
    assert [frame[3] for frame in browser.frames] == answered  # order and loss
    decoder = Decoder()
    heard = np.concatenate([decoder.decode(frame[4]) for frame in browser.frames])
    assert np.abs(heard.astype(int)).max() > 4_000

    conversation, chunks = await the_conversation()
    timings, users = columns(chunks)
    assert [user.seq for user in users] == sorted({*range(FRAMES)} - never_sent)
    assert timings["seq"].tolist() == answered
    by_seq = {int(row["seq"]): row for row in timings}
    assert by_seq[22]["flags"] & GAP
    assert by_seq[43]["flags"] & DROPPED
    assert by_seq[43]["dropped"] == 3
    assert conversation.frames == len(answered)
    assert (conversation.dropped_frames, conversation.missing_frames) == (3, 2)

    path = timings["path_us"]
    assert (path > 0).all()
    assert (np.diff(timings["received_ms"].astype(int)) > 0).all()
    assert conversation.path_p50_ms == percentile(path / 1000, 50)
    on_the_wire = [frame[2] for frame in browser.frames]
    assert on_the_wire == [int(us) // 100 for us in path]
    print(  # noqa: T201
        f"path p50 {conversation.path_p50_ms} p99 {conversation.path_p99_ms} ms, "
        f"decode {np.median(timings['decode_us'])} µs, "
        f"encode {np.median(timings['encode_us'])} µs"
    )


async def test_a_blocked_database_thread_does_not_delay_frames(
    browser, worker, the_conversation
):
    """Channels' own dispatch would wait behind it: one thread serves all consumers."""
    from asgiref.sync import sync_to_async

    await browser.start()
    blocked = asyncio.create_task(sync_to_async(time.sleep, thread_sensitive=True)(1.0))
    await asyncio.sleep(0.05)
    began = time.perf_counter()
    for seq in range(5):
        await browser.say(seq)
    await browser.until_frame(4)
    assert time.perf_counter() - began < 0.5
    assert not blocked.done()
    await blocked
    await browser.leave()
