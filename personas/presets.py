"""Fetching what a model brings along, voices and tokenizer, from its worker.

The HTTP exchange has bounds, and an answer is accepted by its digest, its size and its
shape only. A ``.pt`` is kept as opaque bytes and never opened here; the worker
that is asked to speak with it reads it without trust.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from django.conf import settings

from inference.errors import NoWorker, ProtocolError
from inference.models import Worker
from inference.worker.bearer import authorization
from inference.worker.protocol import FINGERPRINT_HEADER, MAX_VOICE, PRESETS
from personas.models import Voice

log = logging.getLogger(__name__)

CONNECT_SECONDS, SILENT_SECONDS = 5.0, 15.0
MAX_LIST_BYTES = 128 * 1024
MAX_BYTES = 256 * 1024 * 1024  # of all voices of one listing; 18 of 7B have 25 MB
MAX_TOKENIZER_BYTES = 8 * 1024 * 1024  # that of 7B has 0.6 MB


def fetch_from(worker: Worker) -> int:
    """Keep the voices of the worker's model; how many were new. NoWorker or
    ProtocolError: some or none were kept, ask again later."""
    known = dict(
        Voice.objects.presets()
        .filter(fingerprint=worker.fingerprint)
        .values_list("preset", "digest")
    )
    taken = size = 0
    with _client(worker) as client:
        for preset in PRESETS.decode(_get(client, worker, "/presets", MAX_LIST_BYTES)):
            if known.get(preset.name) == preset.digest:
                continue
            prompt = _get(client, worker, f"/presets/{preset.name}", MAX_VOICE)
            if hashlib.sha256(prompt).hexdigest() != preset.digest:
                raise ProtocolError(f"{preset.name} is not what its digest says")
            size += len(prompt)
            if size > MAX_BYTES:
                raise ProtocolError(f"the voices have more than {MAX_BYTES} bytes")
            Voice.take_preset(
                worker.fingerprint, preset.name, preset.label, preset.seconds, prompt
            )
            taken += 1
    return taken


def tokenizer_from(worker: Worker) -> bytes:
    """The SentencePiece file of the worker's model; as opaque as a ``.pt``."""
    with _client(worker) as client:
        return _get(client, worker, "/tokenizer", MAX_TOKENIZER_BYTES)


@contextmanager
def _client(worker: Worker) -> Iterator[httpx.Client]:
    """Every way in which the exchange fails, as one of two errors."""
    # The environment's proxies are not for the site's own network.
    client = httpx.Client(
        base_url=re.sub(r"\Aws", "http", worker.url),
        headers=authorization(settings.WORKER_SECRET),
        timeout=httpx.Timeout(SILENT_SECONDS, connect=CONNECT_SECONDS),
        trust_env=False,
    )
    try:
        with client:
            yield client
    except httpx.HTTPError as error:
        raise NoWorker(f"{worker.url}: {type(error).__name__} {error}") from error


def _get(client: httpx.Client, worker: Worker, path: str, most: int) -> bytes:
    """At most so many bytes, about the model that the worker said it runs."""
    with client.stream("GET", path) as response:
        if response.status_code != 200:
            raise NoWorker(f"{worker.url}{path}: status {response.status_code}")
        if response.headers.get(FINGERPRINT_HEADER) != worker.fingerprint:
            raise NoWorker(f"{worker.url} runs another model by now")
        content = bytearray()
        for piece in response.iter_raw():
            content += piece
            if len(content) > most:
                raise ProtocolError(f"{path} has more than {most} bytes")
    return bytes(content)
