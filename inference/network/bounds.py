"""What a configuration may ask for at most, as annotations of its fields.

A config.json is read before anything else of a model, and may be broken or hostile:
without bounds it could ask for memory and time without end. Must not depend on tensors.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

# The largest size known is 32,000 text tokens.
Size = Annotated[int, Field(ge=1, le=65_536)]
Layers = Annotated[int, Field(ge=1, le=256)]
Codebooks = Annotated[int, Field(ge=1, le=256)]
Context = Annotated[int, Field(ge=1, le=1_000_000)]
RopeBase = Annotated[float, Field(gt=1, le=1e9)]
Ratios = Annotated[tuple[Size, ...], Field(max_length=64)]

FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")
