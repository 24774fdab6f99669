"""A conversation in the hands of its holder: the row, the log's writer, the audio path.

Owns nothing but that they belong together, and the notes of what befell it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from conversations.frame_log.writer import FrameLogWriter
from conversations.live.admission import Wanted
from conversations.live.audio_path import AudioPath
from conversations.live.client_stats import PageFigures
from conversations.models import Conversation

MAX_NOTES = 200


class Say(Protocol):
    """Tell the browser: an event of docs/protocol.md."""

    def __call__(self, kind: str, **fields: object) -> None: ...


@dataclass
class Held:
    row: Conversation
    wanted: Wanted
    recorder: FrameLogWriter
    path: AudioPath
    say: Say
    # Something that is to be noted with the next answer, given its pause in ms.
    resounds: Callable[[int], None] | None = None
    page: PageFigures = field(default_factory=PageFigures)

    def note(self, kind: str, ms: int = 0, detail: str = "") -> None:
        note = {"frame": self.path.frame, "kind": kind, "ms": ms, "detail": detail}
        self.row.notes = [*self.row.notes, note][-MAX_NOTES:]
        self.recorder.change(notes=self.row.notes)

    def keep_page_figures(self, fields: dict[str, Any]) -> None:
        if (kept := self.page.take(fields)) is not None:
            self.recorder.add_page(kept)

    def notice(self, code: str, text: str, **fields: object) -> None:
        self.say("notice", code=code, text=text, **fields)
