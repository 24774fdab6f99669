"""Sessions share a bounded memory: none is killed for it, and none notices another."""

import numpy as np
import pytest

from inference.engine.api import Sampling, SessionConfig
from inference.errors import WorkerBusy
from inference.kernels import ring as rings
from tests.inference.engine.gpu.test_gpu_engine import CONFIG, PLACES, engine
from tests.inference.engine.sessions import opened, speech

OTHER = SessionConfig("b", "You are Bob.", sampling=Sampling(seed=9))


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(rings, "PAGE", 20)  # of a context of 60


def ring_of(made):
    (batch,) = made._batches
    return batch.lm.ring


@pytest.mark.parametrize("place", PLACES)
def test_a_conversation_that_gets_no_more_memory_continues(place):
    """Prompts of 21 frames: two pages each, and the fifth is for who needs it first."""
    made = engine(place, pages=5, promised=1)
    ring = ring_of(made)
    first, second = opened(made, CONFIG), opened(made, OTHER)
    with pytest.raises(WorkerBusy):
        made.open(OTHER)
    sound = speech(1, 40)
    for frame in sound[:20]:
        made.step({first: frame})
    assert ring.pages.spare == 0
    for frame in sound:
        made.step({first: frame, second: frame})
    assert ring.cut == 1
    assert [ring.limit_of(slot) for slot in (first, second)] == [60, 40]
    made.close(first)
    assert ring.pages.free == 3
    third = opened(made, CONFIG)
    assert third == first
    made.step({third: sound[0], second: sound[0]})


@pytest.mark.parametrize("place", PLACES)
def test_where_its_pages_lie_changes_nothing(place):
    sound, said = speech(2, 45), []
    for disturbed in (False, True):
        made = engine(place, slots=2)
        slot = opened(made, CONFIG)
        steps = []
        for n, frame in enumerate(sound):
            if disturbed and n == 10:
                other = opened(made, OTHER)  # takes the pages that come next
                made.close(other)
                ring_of(made).pages._free.reverse()
            steps.append(made.step({slot: frame})[slot])
        said.append(np.stack([step.tokens for step in steps]))
    assert np.array_equal(*said)
