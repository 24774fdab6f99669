"""Readers of environment variables that refuse odd values."""

import ipaddress
import math
import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured


def envstr(name: str, default: str | None = None) -> str:
    value = os.environ.get(name, default)
    return _required(name) if value is None else value


def _required(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise ImproperlyConfigured(f"Set {name}. See .env.example for its meaning.")
    return value


def envbool(name: str, default: bool) -> bool:
    value = os.environ.get(name, str(default))
    if value not in ("True", "False"):
        raise ImproperlyConfigured(f"{name} must be True or False, not {value!r}.")
    return value == "True"


def envint(name: str, default: int, *, least: int = 0, most: float = math.inf) -> int:
    value = os.environ.get(name, str(default))
    if not re.fullmatch("-?[0-9]+", value) or not least <= int(value) <= most:
        allowed = f"of at least {least}" if most == math.inf else f"{least} to {most}"
        raise ImproperlyConfigured(
            f"{name} must be a whole number {allowed}, not {value!r}."
        )
    return int(value)


def envone(name: str, *choices: str) -> str:
    """One of these; the first is the default."""
    value = os.environ.get(name, choices[0])
    if value not in choices:
        raise ImproperlyConfigured(
            f"{name} must be one of {', '.join(choices)}, not {value!r}."
        )
    return value


def envurl(name: str, *schemes: str) -> str:
    """An address of one of these kinds. It may hold a password, so that a refused one
    is not repeated."""
    value = _required(name)
    allowed = " or ".join(f"{scheme}://" for scheme in schemes)
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is no address: {error}.") from None
    if parts.scheme not in schemes:
        raise ImproperlyConfigured(f"{name} must be an address beginning {allowed}.")
    return value


def envprefix(name: str, default: str) -> str:
    """A path below which the site is found: ``/voices`` or ``/a/b``; "" for none."""
    value = os.environ.get(name, default)
    segments = value.split("/")[1:]
    parts = all(re.fullmatch("[A-Za-z0-9._~-]+", part) for part in segments)
    if value and not (value[0] == "/" and parts and not {".", ".."} & {*segments}):
        raise ImproperlyConfigured(
            f"{name} must be a path such as /personaplex: letters, digits and . _ ~ - "
            f"between slashes, none at the end, not {value!r}."
        )
    return value


def envlist(name: str, default: str) -> list[str]:
    parts = os.environ.get(name, default).split(",")
    return [part.strip() for part in parts if part.strip()]


def envnetworks(
    name: str, default: str
) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """Addresses and networks: ``10.0.0.1, 10.1.0.0/16, fd00::/8``."""
    try:
        return [ipaddress.ip_network(part) for part in envlist(name, default)]
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{name} must be addresses and networks, separated by commas: {error}."
        ) from error


def envpath(name: str, default: Path) -> Path:
    return Path(os.environ.get(name) or default).resolve()
