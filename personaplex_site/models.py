"""Who tried to sign in from where: what limits attempts, and what an operator reads.

Every attempt is a row before its password is looked at, so that parallel ones count
each other. Refused ones leave no row: what a flood writes is bounded by the limits.
"""

from __future__ import annotations

import math
from datetime import timedelta
from typing import NamedTuple

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone


class TooManyAttempts(Exception):
    def __init__(self, seconds: int) -> None:
        super().__init__(f"the next attempt may be made in {seconds} s")
        self.retry_after = seconds


class Limit(NamedTuple):
    failures: models.QuerySet[SignIn]
    most: int


class SignInManager(models.Manager["SignIn"]):
    def begin(self, name: str, network: str) -> SignIn:
        """An attempt that counts as failed until it succeeds.

        Raises TooManyAttempts. Asked once before the row is written, so that a flood
        costs three short queries, and once after it, with those that came earlier.
        """
        self._check(name, network, self.all())
        attempt = self.create(name=name, network=network)
        try:
            self._check(name, network, self.filter(pk__lt=attempt.pk))
        except TooManyAttempts:
            attempt.delete()
            raise
        return attempt

    def _check(self, name: str, network: str, among: models.QuerySet[SignIn]) -> None:
        now, window = timezone.now(), timedelta(seconds=settings.SIGN_IN_WINDOW_SECONDS)
        failures = among.filter(counted=True, at__gt=now - window).order_by("-at")
        limits = {
            "pair": Limit(
                failures.filter(name=name, network=network),
                settings.LOGIN_FAILURE_LIMIT,
            ),
            "network": Limit(
                failures.filter(network=network), settings.SIGN_IN_ADDRESS_FAILURES
            ),
            "name": Limit(failures.filter(name=name), settings.SIGN_IN_NAME_FAILURES),
        }
        for kind, (failed, most) in limits.items():
            # The failure that has to leave the window before there is room again.
            oldest = failed.values_list("at", flat=True)[most - 1 : most].first()
            if oldest is None or (kind == "name" and self._is_known(name, network)):
                continue
            left = (oldest + window - now).total_seconds()
            raise TooManyAttempts(max(1, math.ceil(left)))

    def _is_known(self, name: str, network: str) -> bool:
        """Whether this person signed in from there before. Strangers who try a name
        from many addresses slow each other down, but not its owner at home."""
        return self.filter(name=name, network=network, succeeded=True).exists()

    def unlock(self, name: str = "", network: str = "") -> int:
        """Let what failed so far count no longer; of one name, one network or all."""
        failures = self.filter(counted=True)
        if name:
            failures = failures.filter(name=name)
        if network:
            failures = failures.filter(network=network)
        return failures.update(counted=False)

    def expire(self) -> int:
        """Delete those older than SIGN_IN_LOG_DAYS, and beyond SIGN_IN_LOG_ROWS."""
        oldest = timezone.now() - timedelta(days=settings.SIGN_IN_LOG_DAYS)
        expired, _ = self.filter(at__lt=oldest).delete()
        rows = self.order_by("-pk").values_list("pk", flat=True)
        first_too_many = rows[settings.SIGN_IN_LOG_ROWS :].first()
        if first_too_many is None:
            return expired
        return expired + self.filter(pk__lte=first_too_many).delete()[0]


class SignIn(models.Model):
    """An attempt to prove by a password who one is."""

    name = models.CharField("user name", max_length=150)
    network = models.CharField("address", max_length=49)  # of IPv6 the /64
    at = models.DateTimeField(default=timezone.now)
    succeeded = models.BooleanField(default=False)
    # Towards the limits: until it succeeds, a later one does, or it is unlocked.
    counted = models.BooleanField(default=True, editable=False)

    objects = SignInManager()

    class Meta:
        verbose_name = "sign-in"
        indexes = [
            models.Index(fields=["at"], name="sign_in_at"),
            models.Index(
                fields=["name", "-at"],
                condition=Q(counted=True),
                name="sign_in_failures_of_name",
            ),
            models.Index(
                fields=["network", "-at"],
                condition=Q(counted=True),
                name="sign_in_failures_of_network",
            ),
            models.Index(
                fields=["name", "network"],
                condition=Q(succeeded=True),
                name="sign_in_known",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} from {self.network}"

    def succeed(self) -> None:
        """Forgets what this person got wrong from there."""
        SignIn.objects.filter(pk=self.pk).update(succeeded=True)
        SignIn.objects.unlock(self.name, self.network)

    def withdraw(self) -> None:
        """The password was right, but was not asked for in order to sign in."""
        self.delete()
        SignIn.objects.unlock(self.name, self.network)
