"""How many tokens a role prompt has, and how many fit beside a voice.

The same limit as the model's own at the start of a conversation, applied while a user
writes. Where no tokenizer has been fetched yet there is no answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Min

from inference.models import Worker
from inference.prompts.prompt_text import room_for_prompts
from inference.timing import FRAME_SECONDS
from personas.tokenizers import counter_of
from personas.voice_choices import running_models


@dataclass(frozen=True)
class Room:
    tokens: int
    fits: int  # tokens

    @property
    def is_enough(self) -> bool:
        return self.tokens <= self.fits

    @property
    def problem(self) -> str:
        """ "" if it fits."""
        if self.is_enough:
            return ""
        return (
            f"This role prompt is {self.tokens:,} tokens long, and with this voice the "
            f"model that is running takes {self.fits:,}. Please shorten it by about "
            f"{self.excess_percent} %."
        )

    @property
    def excess_percent(self) -> int:
        return -(-100 * (self.tokens - self.fits) // self.tokens)


def room_of(role_prompt: str, voice_seconds: float) -> Room | None:
    """In the strictest of the models that run. ``voice_seconds``: 0 for none."""
    voice_frames = round(voice_seconds / FRAME_SECONDS)
    rooms = []
    for fingerprint, context in _contexts().items():
        counter = counter_of(fingerprint)
        if counter is None:
            continue
        try:
            tokens = counter.tokens_of(role_prompt)
        except (ValueError, RuntimeError):  # half of a surrogate pair
            continue
        rooms.append(Room(tokens, max(0, room_for_prompts(context) - voice_frames)))
    return min(rooms, key=lambda room: room.fits - room.tokens, default=None)


def _contexts() -> dict[str, int]:
    """Frames of the window, by the fingerprint of each model that runs."""
    rows = Worker.objects.filter(fingerprint__in=running_models(), context_frames__gt=0)
    frames = rows.values_list("fingerprint").annotate(Min("context_frames"))
    return dict(frames.order_by("fingerprint"))
