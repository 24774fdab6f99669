"""Events of a conversation: lost connections, moves, rewinds."""

from __future__ import annotations

from typing import Any

from conversations.errors import EndReason
from conversations.frame_log.reader import FrameLogReader

_TEXTS = {
    "resumed": "The browser came back",
    "moved": "Moved to another worker",
    "rewound": "Rewound by {detail}",
    "context_full": "The model's memory was full",
}
_PARKED = {
    EndReason.NETWORK_LOST: "The connection to the browser was lost",
    EndReason.SHUTDOWN: "The web server was restarted",
}


def events(reader: FrameLogReader) -> list[dict[str, Any]]:
    """``at_s``, ``kind``, ``text`` and ``pause_s``: until sound came again, or null."""
    notes = reader.conversation.events
    times = reader.seconds_at([int(note["frame"]) for note in notes])
    return [
        {
            "at_s": at_s,
            "kind": note["kind"],
            "text": _text(str(note["kind"]), str(note["detail"])),
            "pause_s": round(note["ms"] / 1000, 2) if note["ms"] else None,
        }
        for note, at_s in zip(notes, times, strict=True)
    ]


def _text(kind: str, detail: str) -> str:
    if kind == "parked":
        return _PARKED.get(EndReason(detail), "The browser was disconnected")
    return _TEXTS.get(kind, kind).format(detail=detail)
