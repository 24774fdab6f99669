"""The tokenizers of the models that run, kept so that the site can count tokens.

One file for each model below MEDIA_ROOT; a damaged one counts as none.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from functools import lru_cache

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from inference.prompts.prompt_text import TokenCounter

log = logging.getLogger(__name__)

FOLDER, SUFFIX = "tokenizers", ".model"
FINGERPRINT = re.compile(r"[A-Za-z0-9_-]{1,64}")
MAX_LOADED = 4


def is_kept(fingerprint: str) -> bool:
    return not _fits(fingerprint) or default_storage.exists(_path(fingerprint))


def keep(fingerprint: str, content: bytes) -> None:
    """ValueError for what is no tokenizer: nothing is kept then."""
    TokenCounter(content)
    if is_kept(fingerprint):
        return
    path = _path(fingerprint)
    saved = default_storage.save(path, ContentFile(content))
    if saved != path:  # another task was faster
        default_storage.delete(saved)


def counter_of(fingerprint: str) -> TokenCounter | None:
    """None while the tokenizer of this model is not here."""
    try:
        return _loaded(fingerprint, str(default_storage.path(_path(fingerprint))))
    except OSError:
        return None
    except ValueError as error:  # half written, or damaged
        log.warning("tokenizer of %s can't be read: %s", fingerprint, error)
        return None


@lru_cache(MAX_LOADED)
def _loaded(fingerprint: str, path: str) -> TokenCounter:
    """``path`` tells storages apart; what is raised is not remembered."""
    with default_storage.open(_path(fingerprint)) as file:
        return TokenCounter(file.read())


def forget_all_but(fingerprints: Iterable[str]) -> None:
    """Delete those of models that no worker runs any more."""
    if not default_storage.exists(FOLDER):
        return
    wanted = {f"{fingerprint}{SUFFIX}" for fingerprint in fingerprints}
    for name in set(default_storage.listdir(FOLDER)[1]) - wanted:
        default_storage.delete(f"{FOLDER}/{name}")


def _fits(fingerprint: str) -> bool:
    return bool(FINGERPRINT.fullmatch(fingerprint))


def _path(fingerprint: str) -> str:
    """ValueError for what no model of ours is called."""
    if not _fits(fingerprint):
        raise ValueError(f"fingerprint {fingerprint!r:.80}")
    return f"{FOLDER}/{fingerprint}{SUFFIX}"
