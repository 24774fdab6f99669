"""Passwords are hashed a few at a time, in little memory.

A hash is meant to cost: 19 MiB and some 30 ms of a core. Any visitor may ask for one by
trying to sign in, so a process computes SIGN_IN_PARALLEL at once, lets SIGN_IN_WAITING
more wait for SIGN_IN_WAIT_SECONDS, and refuses the rest (``HashingBusy``, counted).
Where the process also carries conversations, hashes wait while those are late.

They are computed in threads of their own: the C library keeps what a thread has freed
for that thread, and forty threads that answer pages kept 19 MiB each.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import ParamSpec, TypeVar

from django.conf import settings
from django.contrib.auth import hashers

from conversations.live import event_loop_load

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

LOOK_SECONDS = 0.1  # between two looks at how late conversations are
LOG_SECONDS = 10.0  # between two lines about refusals


class HashingBusy(Exception):
    """Too many passwords are being checked; nothing was computed."""

    retry_after = 5  # seconds


class HashPlaces:
    """Who may hash now. Threads wait here, never an event loop."""

    def __init__(self) -> None:
        self.refused = 0
        self._changed = threading.Condition()
        self._hashing = self._waiting = 0
        self._logged_at = 0.0

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        """Started by the first hash: not before a process has forked."""
        return ThreadPoolExecutor(settings.SIGN_IN_PARALLEL, "hash")

    def compute(self, hash_: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self.place():
            return self._threads.submit(hash_, *args, **kwargs).result()

    @contextmanager
    def place(self) -> Iterator[None]:
        with self._changed:
            if self._waiting or not self._is_free():
                self._wait()
            self._hashing += 1
        try:
            yield
        finally:
            with self._changed:
                self._hashing -= 1
                self._changed.notify()

    def _wait(self) -> None:
        if self._waiting >= settings.SIGN_IN_WAITING:
            self._refuse("so many wait already")
        until = time.monotonic() + settings.SIGN_IN_WAIT_SECONDS
        self._waiting += 1
        try:
            while not self._is_free():
                left = until - time.monotonic()
                if left <= 0:
                    self._refuse("none was free in time")
                self._changed.wait(min(left, LOOK_SECONDS))
        finally:
            self._waiting -= 1

    def _is_free(self) -> bool:
        return (
            self._hashing < settings.SIGN_IN_PARALLEL
            and not event_loop_load.PROCESS_LOAD.is_late()
        )

    def _refuse(self, why: str) -> None:
        self.refused += 1
        now = time.monotonic()
        if self.refused == 1 or now - self._logged_at > LOG_SECONDS:
            self._logged_at = now
            log.warning("password not checked, %s; %s so far", why, self.refused)
        raise HashingBusy(why)


places = HashPlaces()  # of this process


class Argon2Hasher(hashers.Argon2PasswordHasher):
    """The parameters that OWASP recommends: Django's own take 100 MiB and 8 threads.
    Hashes with others are replaced when their owner signs in."""

    time_cost = 2
    memory_cost = 19 * 1024  # KiB
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        return places.compute(super().encode, password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        return places.compute(super().verify, password, encoded)


class PBKDF2Hasher(hashers.PBKDF2PasswordHasher):
    """For hashes that came from elsewhere. Its ``verify`` calls ``encode``."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        return places.compute(super().encode, password, salt, iterations)
