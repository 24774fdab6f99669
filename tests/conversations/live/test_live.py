"""A whole conversation through the consumer, the echo worker and the database."""

import numpy as np

from conversations.frame_log.format import (
    LATE,
    unpack_agent_packets,
    unpack_timings,
    unpack_tokens,
    unpack_user_packets,
)


async def test_a_conversation_is_answered_and_kept(browser, worker, the_conversation):
    await browser.start()
    ready = browser.event("ready")
    assert ready["model"] == "tiny"
    assert ready["trained"] is False
    assert ready["context_seconds"] == 231.8
    await browser.converse(24)
    await browser.send_json_to({"type": "end"})
    assert await browser.until_closed() == 1000
    ended = browser.event("ended")
    assert ended["reason"] == "user_ended"
    assert [frame[3] for frame in browser.frames] == list(range(24))
    assert browser.event("text") == {"type": "text", "frame": 0, "piece": " Hello"}
    conversation, chunks = await the_conversation()
    assert ended["url"] == f"/conversations/{conversation.pk}/"
    assert conversation.end_reason == "user_ended"
    assert conversation.frames == 24
    assert conversation.late_frames == 2
    assert conversation.path_p50_ms > 0
    assert [chunk.frames for chunk in chunks] == [20, 4]
    tokens = np.concatenate([unpack_tokens(bytes(c.tokens)) for c in chunks])
    assert tokens[:, 0].tolist() == list(range(24))
    timings = np.concatenate([unpack_timings(bytes(c.timings)) for c in chunks])
    assert timings["seq"].tolist() == list(range(24))
    assert bool(timings["flags"][9] & LATE)
    assert (timings["path_us"] >= timings["worker_us"]).all()
    packets = [p for c in chunks for p in unpack_agent_packets(bytes(c.agent_packets))]
    assert [frame[4] for frame in browser.frames] == packets
    users = [u for c in chunks for u in unpack_user_packets(bytes(c.user_packets))]
    assert [user.seq for user in users] == list(range(24))
    assert chunks[0].pieces[0] == [0, " Hello"]
    await worker.until_free()
