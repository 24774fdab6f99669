"""How much of the model's context window a conversation has left.

The model remembers a fixed number of frames (3,000 of the 7B one, 240 s with its
persona); beyond that the oldest slide out of its view, or the conversation ends, as the
setting WHEN_FULL says. The user gets a notice in time.
"""

from __future__ import annotations

from django.conf import settings

from conversations.live.state import LiveState
from inference.timing import FRAME_SECONDS
from inference.worker.protocol import Ready

LOW_SECONDS = 30.0
END = "end"
SLIDE, PIN = "slide", "pin"

_LOW = {
    END: "In about {seconds:.0f} seconds the memory of this model is full, and the "
    "conversation ends.",
    SLIDE: "In about {seconds:.0f} seconds the memory of this model is full. It then "
    "forgets the oldest part, its role first.",
    PIN: "In about {seconds:.0f} seconds the memory of this model is full. It then "
    "forgets the oldest part of the conversation, but not its role.",
}
_FULL = {
    SLIDE: "The memory of this model is full: it now forgets how the conversation "
    "began, and the role that it was given.",
    PIN: "The memory of this model is full: it now forgets how the conversation began, "
    "but not the role that it was given.",
}


def when_full(ready: Ready) -> str:
    """``end``, ``slide`` or ``pin``."""
    if settings.WHEN_FULL == END:
        return END
    return PIN if ready.pin_prompt else SLIDE


def seconds_left(ready: Ready, model_frame: int) -> float:
    """Of full context, ``model_frame`` being the next that the worker will answer."""
    frames = ready.context_frames - (model_frame - ready.frame)
    return max(0.0, frames * FRAME_SECONDS)


class ContextWatch:
    """Tells the browser once that the context gets short, and once that it is full;
    after a rewind, again."""

    def __init__(self, state: LiveState) -> None:
        self._state = state
        self._warned_low = self._warned_full = False

    def look(self, ready: Ready) -> bool:
        """Whether the conversation has to end now."""
        left = seconds_left(ready, self._state.path.model_frame)
        rule = when_full(ready)
        if left > LOW_SECONDS:
            self._warned_low = self._warned_full = False
        elif not self._warned_low:
            self._warned_low = True
            if left > 0:
                text = _LOW[rule].format(seconds=left)
                self._state.notice("context_low", text, seconds=round(left, 1))
        if left > 0:
            self._warned_full = False
        elif rule == END:
            return True
        elif not self._warned_full:
            self._warned_full = True
            self._state.record("context_full")
            self._state.notice("context_full", _FULL[rule])
        return False
