"""Answering with bytes of which the browser may want a part: Safari plays no sound
from a server that can't, and no browser seeks in one."""

import re

from django.http import HttpRequest, HttpResponse

# Bounded: Python refuses to read a number of thousands of digits.
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z")


def bytes_response(
    request: HttpRequest, content: bytes, content_type: str
) -> HttpResponse:
    """200 with everything, 206 with the one range asked for, or 416."""
    size = len(content)
    wanted = RANGE.match(request.headers.get("Range", ""))
    if wanted is None or wanted.groups() == ("", ""):
        response = HttpResponse(content, content_type=content_type)
    else:
        start, stop = _slice(wanted[1], wanted[2], size)
        if start >= stop:
            response = HttpResponse(status=416)
            response["Content-Range"] = f"bytes */{size}"
            return response
        part = content[start:stop]
        response = HttpResponse(part, status=206, content_type=content_type)
        response["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    response["Accept-Ranges"] = "bytes"
    response["Cache-Control"] = "private, max-age=3600"
    return response


def _slice(first: str, last: str, size: int) -> tuple[int, int]:
    if not first:  # the last n bytes
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size
