"""Writes a frame log as its writer would have, for tests of what is read."""

import numpy as np

from conversations.audio.opus import Encoder
from conversations.frame_log import format as frames
from conversations.frame_log.format import UserPacket
from conversations.models import FrameChunk
from tests.conversations.browser import tone


def write_log(
    conversation, seqs, *, first_seq=0, user_seqs=None, pieces=(), path_us=30_000
):
    """``seqs``: the user frames that were answered; ``user_seqs``: those received.

    The user speaks at 440 Hz, the agent at 1 kHz; chunks of 20 frames.
    """
    seqs = list(seqs)
    received = list(seqs if user_seqs is None else user_seqs)
    user, agent = Encoder(32_000), Encoder(32_000)
    user_sound, agent_sound = tone(len(received), 440), tone(len(seqs), 1_000)
    heard = [
        UserPacket(seq, 0, user.encode(s))
        for seq, s in zip(received, user_sound, strict=True)
    ]
    for start in range(0, len(seqs), 20):
        part = seqs[start : start + 20]
        last = start + 20 >= len(seqs)
        mine = [u for u in heard if u.seq <= part[-1] or last]
        heard = heard[len(mine) :]
        FrameChunk.objects.create(
            conversation=conversation,
            first_frame=start,
            frames=len(part),
            tokens=frames.pack_tokens([np.zeros(17, np.uint16)] * len(part)),
            user_packets=frames.pack_user_packets(mine),
            agent_packets=frames.pack_agent_packets(
                [agent.encode(s) for s in agent_sound[start : start + 20]]
            ),
            timings=frames.pack_timings(
                [
                    (s, 80 * s, 0, 0, 0, 200, 400, 900, 9_000, 10_000, path_us + s)
                    for s in part
                ]
            ),
            pieces=[[f, p] for f, p in pieces if start <= f < start + 20],
        )
    return conversation
