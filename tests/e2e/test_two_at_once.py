"""Two conversations on one worker give the tokens that each gives alone."""

import asyncio

import numpy as np

from conversations.frame_log.format import unpack_tokens
from inference.timing import STREAMS
from tests.e2e import sounds
from tests.e2e.browser_protocol_client import hold, run
from tests.up.product import wait_until

FRAMES = 60


def test_two_greedy_conversations_give_the_tokens_of_each_alone(
    product, site, rows, place
):
    first = site.create_persona("First", "You are a pilot who likes storms.")
    second = site.create_persona("Second", "You sell flowers in the morning.")
    for persona in (first, second):
        sample = sounds.RECORDING if persona == first else sounds.espeak_sample(place)
        status = site.upload_voice(persona, sample)
        wait_until(lambda s=status: site.status(s).get("type") == "ready", 90)
    said = {first: sounds.packets(8), second: sounds.packets(8, skip=4.2)}

    def greedy(persona):
        return hold(site, persona, said[persona][:FRAMES], greedy=True, seed=1)

    async def both():
        return await asyncio.gather(greedy(first), greedy(second))

    alone = [tokens(rows, run(greedy(persona))) for persona in (first, second)]
    together = [tokens(rows, talk) for talk in run(both())]

    assert not np.array_equal(*alone), "two personas that are one show nothing"
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def tokens(rows, talk):
    """uint16 [FRAMES, 17] as kept; the talk must have been undisturbed."""
    [(dropped, missing, reason)] = rows(
        "SELECT dropped_frames, missing_frames, end_reason"
        " FROM conversations_conversation WHERE id = %s",
        talk.conversation,
    )
    assert (dropped, missing, reason) == (0, 0, "user_ended")
    chunks = rows(
        "SELECT tokens FROM conversations_framechunk WHERE conversation_id = %s"
        " ORDER BY first_frame",
        talk.conversation,
    )
    kept = np.concatenate([unpack_tokens(bytes(chunk)) for (chunk,) in chunks])
    assert kept.shape == (FRAMES, STREAMS)
    return kept
