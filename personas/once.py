"""The same form sent twice makes one thing: by a double click, or by a browser that
tries again when an answer was lost.

Each form carries an id of its page, and the primary key of what it makes is computed
from that: so the database itself lets only one of two be made, however parallel they
are.
"""

from __future__ import annotations

import uuid

NAMESPACE = uuid.UUID("0d3f7ac5-5c2e-4d0b-9c64-6f6f3f3b6a51")


def key_for(owner: object, form_id: str, *content: object) -> uuid.UUID:
    """The same for the same person, form and content; without an id a new one. The
    content counts, as people go back in their browser, change the form and send it
    to make another one."""
    if not form_id:
        return uuid.uuid4()
    parts = [repr(part) for part in (owner, form_id, *content)]
    return uuid.uuid5(NAMESPACE, "\n".join(parts))
