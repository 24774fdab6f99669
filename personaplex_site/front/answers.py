"""What the front door says by itself, when no page process is asked.

Each refusal is plain text, JSON for our own scripts, or a page for a person. The page
stands alone: a style sheet would be one more request to a crowded site.
"""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from http import HTTPStatus

RETRY_SECONDS = 5
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · PersonaPlex</title>
<style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif; }}
body {{ max-width: 34rem; margin: 15vh auto; padding: 0 1rem; line-height: 1.5; }}
h1 {{ font-size: 1.4rem; }}
</style>
</head>
<body>
<main><h1>{title}</h1><p>{text}</p></main>
</body>
</html>
"""


@dataclass
class Refusal(Exception):
    """``code`` and ``text`` are what the user gets, like any error of the product."""

    status: int
    code: str
    title: str
    text: str
    retry_after_s: int = 0

    @classmethod
    def crowded(cls) -> Refusal:
        return cls(
            *(503, "busy", "Just a moment"),
            "Too many pages are asked for at this moment. "
            f"Please try again in about {RETRY_SECONDS} seconds.",
            RETRY_SECONDS,
        )

    @classmethod
    def unavailable(cls) -> Refusal:
        return cls(
            *(503, "unavailable", "Just a moment"),
            "This page can't be made at this moment. "
            f"Please try again in about {RETRY_SECONDS} seconds.",
            RETRY_SECONDS,
        )

    @classmethod
    def not_signed_in(cls) -> Refusal:
        return cls(
            *(403, "not_signed_in", "You are signed out"),
            "You are signed out, and nothing was uploaded. Open this site in another "
            "tab and sign in there, then come back here and send it again.",
        )

    @classmethod
    def too_slow(cls, seconds: int) -> Refusal:
        return cls(
            *(408, "too_slow", "That took too long"),
            f"It did not arrive within {seconds} seconds. Send a shorter piece, or "
            "save it as FLAC, MP3 or Ogg, or try again with a better connection.",
        )

    @classmethod
    def no_room(cls) -> Refusal:
        return cls(
            *(503, "no_room", "Just a moment"),
            "There is no room for what you send at this moment. "
            f"Please try again in about {RETRY_SECONDS} seconds.",
            RETRY_SECONDS,
        )

    @classmethod
    def head(cls, status: int) -> Refusal:
        """For a request whose first line or headers can't be served."""
        match status:
            case 414:
                return cls(
                    *(414, "address_too_long", "This address is too long"),
                    "The address of this page is longer than any that this site has. "
                    "Open the page from the site instead.",
                )
            case 431:
                return cls(
                    *(431, "headers_too_large", "Your browser sent too much"),
                    "The address or the headers of this request are too large, most "
                    "likely its cookies. Delete the cookies of this site, then sign "
                    "in again.",
                )
            case 500:
                return cls(
                    *(500, "internal", "Something went wrong"),
                    "Something went wrong on our side. Please try again in a moment.",
                    RETRY_SECONDS,
                )
        return cls(
            *(400, "bad_request", "This request can't be read"),
            "Something in this request has a wrong form. Reload the page, or open it "
            "from the site once more.",
        )

    def whole(self, accept: bytes = b"") -> bytes:
        """The answer as bytes, for the end of a connection."""
        kind, body = self.content(accept)
        lines = [b"HTTP/1.1 %d %s" % (self.status, phrase(self.status))]
        headers = [*self.headers(kind, len(body)), (b"connection", b"close")]
        lines += [b"%s: %s" % header for header in headers]
        return b"\r\n".join([*lines, b"", body])

    def content(self, accept: bytes) -> tuple[bytes, bytes]:
        """Content type and body."""
        if b"application/json" in accept:
            answer: dict[str, object] = {"code": self.code, "text": self.text}
            answer["retryable"] = bool(self.retry_after_s)
            if self.retry_after_s:
                answer["retry_after_s"] = self.retry_after_s
            return b"application/json", json.dumps(answer).encode()
        if b"text/html" in accept:
            page = PAGE.format(title=self.title, text=html.escape(self.text))
            return b"text/html; charset=utf-8", page.encode()
        return b"text/plain; charset=utf-8", self.text.encode()

    def headers(self, kind: bytes, length: int) -> list[tuple[bytes, bytes]]:
        found = [
            (b"content-type", kind),
            (b"content-length", str(length).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (
                b"content-security-policy",
                b"default-src 'none'; style-src 'unsafe-inline'",
            ),
        ]
        if self.retry_after_s:
            found.append((b"retry-after", str(self.retry_after_s).encode()))
        return found


def phrase(status: int) -> bytes:
    return HTTPStatus(status).phrase.encode()
