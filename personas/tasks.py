"""Slow work on voices, as Celery tasks. Any failure ends here as a row and a log line;
checking, encoding and asking workers are in modules of their own.
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
from django.utils import timezone

from inference.errors import PersonaplexError
from inference.models import Worker, WorkerQuerySet
from personas.channels import AUTO, OneChannel
from personas.decoding_apart import decode_apart
from personas.encoding import encode, forget_abandoned
from personas.errors import NotPrepared, VoiceError
from personas.models import PresetList, Voice
from personas.models.upload import LEASE, MAX_ATTEMPTS, VoiceUpload
from personas.preparation import prepare, to_flac
from personas.presets import fetch_from, tokenizer_from
from personas.progress import publish
from personas.strays import delete_strays
from personas.tokenizers import forget_all_but, is_kept, keep

log = logging.getLogger(__name__)

TIME_LIMIT = 15 * 60  # s; a large model on a CPU, with a long sample
PRESETS_TIME_LIMIT = 60  # s; 25 MB from the site's own network
ENCODING_FROM = 25  # percent of the bar at which encoding begins
PUBLISH_EVERY = 0.25  # s


class LeaseLost(Exception):
    """Another task works on this upload, or it was put aside. Stop quietly."""


@shared_task(soft_time_limit=TIME_LIMIT, time_limit=TIME_LIMIT + 30)
def prepare_voice(upload_id: str) -> None:
    """Make the upload's file the persona's voice, or say why not.

    Safe to run twice or after a kill: only the task with the lease works, and the
    persona changes in one transaction at the end.
    """
    upload = VoiceUpload.claim(upload_id)
    if upload is None:
        log.info("upload %s needs no work", upload_id)
        return
    publish(upload)
    try:
        if upload.attempts > MAX_ATTEMPTS:
            raise NotPrepared(f"{MAX_ATTEMPTS} workers died of it")
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
        one = _decoded(cast(BinaryIO, file), upload.channel)
    _report(upload, VoiceUpload.State.DECODING, 15)
    sample = prepare(one.sound, settings.VOICE_MIN_SECONDS, settings.VOICE_USED_SECONDS)
    _report(upload, VoiceUpload.State.ENCODING, ENCODING_FROM)
    encoded = encode(sample.pcm, _Follower(upload))
    done = upload.succeed(
        to_flac(sample.pcm),
        encoded.prompt,
        fingerprint=encoded.fingerprint,
        seconds=sample.seconds,
        warning=" ".join(filter(None, (one.note, sample.warning))),
    )
    if not done:
        raise LeaseLost


def _decoded(file: BinaryIO, channel: str = AUTO) -> OneChannel:
    most = settings.VOICE_MAX_SECONDS
    return decode_apart(file, most, settings.VOICE_DECODE_MB, channel)


def _report(upload: VoiceUpload, state: str, percent: int) -> None:
    if not upload.report(state, percent):
        raise LeaseLost
    publish(upload)


class _Follower:
    """Turns the encoder's 0 … 1 into the rest of the bar, a few times a second."""

    def __init__(self, upload: VoiceUpload) -> None:
        self._upload = upload
        self._reported_at = 0.0

    def __call__(self, done: float) -> None:
        now = time.monotonic()
        if now - self._reported_at < PUBLISH_EVERY:
            return
        self._reported_at = now
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
    voice = Voice.objects.filter(pk=voice_id, deleted_at=None, preset="").first()
    if voice is None or voice.is_current(fingerprint):
        return
    try:
        with voice.sample.open("rb") as file:
            pcm = _decoded(cast(BinaryIO, file)).sound
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
def look_for_presets() -> None:
    """Ask every model that runs, now and then, which voices it brings along: soon
    after a worker with a new one beats, and again for those imported since."""
    running = _with_a_model().values_list("fingerprint", flat=True)
    for fingerprint in PresetList.objects.due(list(running)):
        fetch_presets.delay(fingerprint)
        if not is_kept(fingerprint):
            fetch_tokenizer.delay(fingerprint)


@shared_task(soft_time_limit=PRESETS_TIME_LIMIT, time_limit=PRESETS_TIME_LIMIT + 10)
def fetch_presets(fingerprint: str) -> None:
    """From the first worker that gives them; else they are asked for again soon."""
    for worker in _with_a_model().filter(fingerprint=fingerprint):
        try:
            new = fetch_from(worker)
        except PersonaplexError as error:
            log.warning("voices of %s not fetched: %s", worker.name, error)
            continue
        if new:
            log.info("%d voices of %s fetched from %s", new, worker.model, worker.name)
        now = {"fetched_at": timezone.now()}
        PresetList.objects.update_or_create(fingerprint=fingerprint, defaults=now)
        return


@shared_task(soft_time_limit=PRESETS_TIME_LIMIT, time_limit=PRESETS_TIME_LIMIT + 10)
def fetch_tokenizer(fingerprint: str) -> None:
    """With it the site counts a role prompt as the model will."""
    for worker in _with_a_model().filter(fingerprint=fingerprint):
        try:
            keep(fingerprint, tokenizer_from(worker))
        except (PersonaplexError, ValueError) as error:
            log.warning("tokenizer of %s not fetched: %s", worker.name, error)
            continue
        return


def _with_a_model() -> WorkerQuerySet:
    """Also those that don't serve, being too slow at the moment."""
    return Worker.objects.alive().exclude(fingerprint="").order_by("-ready")


@shared_task
def clean_up_voices() -> None:
    """Delete what is no longer needed: rows first, then files that no row names."""
    if deleted := VoiceUpload.objects.delete_old_failures():
        log.info("%d failed uploads deleted", deleted)
    running = Worker.objects.values_list("fingerprint", flat=True)
    if forgotten := Voice.objects.forget_presets(list(running)):
        log.info("%d voices of models that are gone deleted", forgotten)
    forget_all_but(running)
    if strays := delete_strays():
        log.warning("%d voice files that no row names deleted", strays)
    if abandoned := forget_abandoned(2 * TIME_LIMIT):
        log.warning("%d samples of killed tasks deleted", abandoned)
