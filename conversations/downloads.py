"""Bytes with HTTP ranges: without them a browser can't seek in a recording.

Knows nothing of conversations. Django has no ranges of its own.
"""

from __future__ import annotations

import re

from django.http import HttpRequest, HttpResponse

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def ranged(request: HttpRequest, data: bytes, content_type: str) -> HttpResponse:
    """The whole, the part that a single range asks for, or 416."""
    span = _span(request.headers.get("Range", ""), len(data))
    if span is None:
        response = HttpResponse(data, content_type=content_type)
    elif span[0] >= span[1]:
        response = HttpResponse(status=416)
        response["Content-Range"] = f"bytes */{len(data)}"
    else:
        start, end = span
        response = HttpResponse(data[start:end], status=206, content_type=content_type)
        response["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
    response["Accept-Ranges"] = "bytes"
    return response


def _span(header: str, size: int) -> tuple[int, int] | None:
    """[start, end) of a single range; None for the whole (RFC 9110 14.2 lets a server
    ignore what it does not understand); start ≥ end where nothing is there."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:  # the last n bytes
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size
