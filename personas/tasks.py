"""Slow work on voices. Owns the border where any failure becomes a row and a log
line; knows nothing of how sound is judged or encoded.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from celery import shared_task
from django.conf import settings
from django.db import DatabaseError, connection

from inference.errors import PersonaplexError
from personas.decoding import decode
from personas.encoding import encode, forget_abandoned
from personas.errors import NotPrepared, VoiceError
from personas.models import Voice
from personas.preparation import prepare, to_flac
from personas.progress import publish
from personas.uploads import LEASE, MOST_ATTEMPTS, VoiceUpload

log = logging.getLogger(__name__)

TIME_LIMIT = 15 * 60  # s; a large model on a CPU, with a long sample
ENCODING_FROM = 25  # percent of the bar at which encoding begins
PUBLISH_EVERY = 0.25  # s


class LeaseLost(Exception):
    """Somebody else works on this upload, or it was put aside. Stop quietly."""


@shared_task(soft_time_limit=TIME_LIMIT, time_limit=TIME_LIMIT + 30)
def prepare_voice(upload_id: str) -> None:
    """Make the upload's file the persona's voice, or say why not.

    Safe to run twice or after a kill: only the holder of the lease works, and the
    persona changes in one transaction at the end.
    """
    upload = VoiceUpload.claim(upload_id)
    if upload is None:
        log.info("upload %s needs nobody", upload_id)
        return
    publish(upload)
    try:
        if upload.attempts > MOST_ATTEMPTS:
            raise NotPrepared(f"{MOST_ATTEMPTS} workers died of it")
        with lease_kept(upload):
            _prepare(upload)
    except LeaseLost:
        log.info("upload %s was put aside or taken over", upload_id)
        upload.refresh_from_db()
    except VoiceError as error:
        log.info("upload %s refused: %s: %s", upload_id, error.code, error)
        upload.fail(error)
    except Exception:  # SoftTimeLimitExceeded is one, too
        log.exception("upload %s failed", upload_id)
        upload.fail(NotPrepared())
    publish(upload)


def _prepare(upload: VoiceUpload) -> None:
    with upload.original.open("rb") as file:
        sound = decode(cast(BinaryIO, file), settings.VOICE_MAX_SECONDS)
    _report(upload, VoiceUpload.State.DECODING, 15)
    sample = prepare(sound, settings.VOICE_MIN_SECONDS, settings.VOICE_USED_SECONDS)
    _report(upload, VoiceUpload.State.ENCODING, ENCODING_FROM)
    encoded = encode(sample.pcm, _Follower(upload))
    done = upload.succeed(
        to_flac(sample.pcm),
        encoded.prompt,
        fingerprint=encoded.fingerprint,
        seconds=sample.seconds,
        warning=sample.warning,
    )
    if not done:
        raise LeaseLost


def _report(upload: VoiceUpload, state: str, percent: int) -> None:
    if not upload.report(state, percent):
        raise LeaseLost
    publish(upload)


class _Follower:
    """Turns the encoder's 0 … 1 into the rest of the bar, a few times a second."""

    def __init__(self, upload: VoiceUpload) -> None:
        self._upload = upload
        self._told_at = 0.0

    def __call__(self, done: float) -> None:
        now = time.monotonic()
        if now - self._told_at < PUBLISH_EVERY:
            return
        self._told_at = now
        percent = ENCODING_FROM + int(done * (99 - ENCODING_FROM))
        _report(self._upload, VoiceUpload.State.ENCODING, min(percent, 99))


@contextmanager
def lease_kept(upload: VoiceUpload) -> Iterator[None]:
    """Extend the lease from a thread of its own: loading a model is one long call.
    The thread dies with the process, which is how a kill shows."""
    stop = threading.Event()

    def keep() -> None:
        while not stop.wait(LEASE.total_seconds() / 3):
            try:
                if not upload.extend_lease():
                    break
            except DatabaseError as error:
                log.warning("lease of %s not extended: %s", upload.pk, error)
        connection.close()

    keeper = threading.Thread(target=keep, name="lease", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stop.set()
        keeper.join()


@shared_task(soft_time_limit=TIME_LIMIT, time_limit=TIME_LIMIT + 30)
def encode_voice_again(voice_id: str, fingerprint: str) -> None:
    """Encode a kept sample for the model that runs now.

    Enqueued by Voice.ready_for when a conversation finds that the voice prompt was
    made by another model. Until it is done the old prompt stays.
    """
    voice = Voice.objects.filter(pk=voice_id).first()
    if voice is None or voice.is_current(fingerprint):
        return
    try:
        with voice.sample.open("rb") as file:
            pcm = decode(cast(BinaryIO, file), settings.VOICE_MAX_SECONDS)
        encoded = encode(pcm, lambda done: None, fingerprint)
    except PersonaplexError:
        log.exception("voice %s not encoded again", voice_id)
        Voice.objects.filter(pk=voice_id).update(asked_again_at=None)
        return
    voice.take_prompt(encoded.prompt, encoded.fingerprint)


@shared_task
def recover_uploads() -> None:
    """Enqueue uploads whose task died with its worker or never reached the broker."""
    for key in VoiceUpload.objects.recover():
        log.warning("upload %s lay idle; enqueued again", key)
        prepare_voice.delay(str(key))


@shared_task
def delete_failed_uploads() -> None:
    if deleted := VoiceUpload.objects.delete_old_failures():
        log.info("%d failed uploads deleted", deleted)
    if abandoned := forget_abandoned(2 * TIME_LIMIT):
        log.warning("%d samples of killed tasks deleted", abandoned)
