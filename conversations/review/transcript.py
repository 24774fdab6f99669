"""What the agent said, as words with their times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from conversations.frame_log.reader import FrameLogReader
from inference.timing import FRAME_SECONDS

PAUSE_SECONDS = 0.8  # words further apart begin a new segment of the transcript

Words = list[dict[str, Any]]


def transcript(reader: FrameLogReader) -> list[dict[str, Any]]:
    """What the agent said, in segments between pauses, with the time of each word.
    Where it was rewound a new segment begins: both versions were heard."""
    segments: list[Words] = []
    new = True
    for word in _words(reader):
        if word is None:
            new = True
            continue
        if new or word["start_s"] - segments[-1][-1]["end_s"] > PAUSE_SECONDS:
            segments.append([])
        segments[-1].append(word)
        new = False
    return [
        {
            "start_s": words[0]["start_s"],
            "end_s": words[-1]["end_s"],
            "text": " ".join(word["text"] for word in words),
            "words": words,
        }
        for words in segments
    ]


def _words(reader: FrameLogReader) -> Iterator[dict[str, Any] | None]:
    """Pieces joined to words. White space ends one, wherever in a piece it stands; so
    does a pause, because not every script has spaces. None: it was rewound here."""
    word: dict[str, Any] | None = None
    notes = reader.conversation.events
    rewound = [note["frame"] for note in notes if note["kind"] == "rewound"]
    times = reader.seconds_at([frame for frame, _ in reader.pieces])
    for (frame, piece), answered in zip(reader.pieces, times, strict=True):
        at = round(answered + FRAME_SECONDS, 2)  # an answer follows its frame
        if rewound and frame >= rewound[0]:
            rewound = [mark for mark in rewound if mark > frame]
            yield from (word, None)
            word = None
        if word is not None and at - word["end_s"] > PAUSE_SECONDS:
            yield word
            word = None
        for part in re.findall(r"\s+|\S+", piece):
            if part.isspace():
                if word is not None:
                    yield word
                word = None
                continue
            if word is None:
                word = {"start_s": at, "end_s": at, "text": ""}
            word["text"] += part
            word["end_s"] = round(at + FRAME_SECONDS, 2)
    if word is not None:
        yield word
