"""Voice files that no row names: of a deleted account, of a process that was killed
between file and row, of a disk that failed while deleting. None may outlive its row.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from django.core.files.storage import default_storage
from django.utils import timezone

from personas.models import Voice, VoiceUpload

log = logging.getLogger(__name__)

# Younger ones may belong to a transaction that is still open.
MIN_AGE = timedelta(hours=1)
FOLDERS = (
    ("voices/samples", Voice, "sample"),
    ("voices/prompts", Voice, "prompt"),
    ("voices/uploads", VoiceUpload, "original"),
)


def delete_strays() -> int:
    """How many were deleted."""
    before = timezone.now() - MIN_AGE
    deleted = 0
    for folder, model, field in FOLDERS:
        if not default_storage.exists(folder):
            continue
        present = {f"{folder}/{name}" for name in default_storage.listdir(folder)[1]}
        # Read after the folder: a file that came in between is not in the set.
        named = model.objects.exclude(**{field: ""}).values_list(field, flat=True)
        for name in present.difference(named):
            try:
                if default_storage.get_modified_time(name) < before:
                    default_storage.delete(name)
                    deleted += 1
            except OSError:
                log.exception("%s could not be deleted", name)
    return deleted
