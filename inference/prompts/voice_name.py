"""What a voice that comes with a model may be called."""

from __future__ import annotations

import re

# Also part of file names and addresses: no dot, no slash, nothing to escape.
VOICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
