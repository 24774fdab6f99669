"""The options of scripts/up, and what ``--help`` says of them.

``scripts/prepare.py`` runs this file by itself, before any package is installed: it
must not import anything but the standard library.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SERVERS = ("daphne", "uvicorn")
MODELS = ("tiny", "personaplex-7b", "moshiko", "moshika")  # known by name


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="scripts/up",
        description="Prepare this machine and start PersonaPlex: database, broker, "
        "inference worker and site. Ctrl-C stops everything.",
        epilog="Everything else is a setting of the environment: see .env.example.",
    )
    made.add_argument(
        "--port",
        type=_port,
        default=8000,
        metavar="N",
        help="port of the site (default: 8000)",
    )
    made.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on: 127.0.0.1 for this machine only, 0.0.0.0 for all "
        "addresses of this machine (default: 127.0.0.1)",
    )
    made.add_argument(
        "--model",
        default=os.environ.get("MODEL", ""),
        metavar="NAME|FOLDER",
        help="what talks: tiny, which comes along and is small enough for any machine; "
        "personaplex-7b, moshiko or moshika, which are downloaded first and need a "
        "GPU; or a folder with a model's files (default: MODEL in the environment, "
        "else tiny)",
    )
    made.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("DATA_DIR") or CHECKOUT / "var"),
        metavar="FOLDER",
        help="folder for everything that is kept: database, voices, secrets, logs "
        "(default: DATA_DIR in the environment, else var/ in the checkout, or where "
        "the account may write if not there)",
    )
    made.add_argument(
        "--server",
        choices=SERVERS,
        default=SERVERS[0],
        help=f"what serves pages and live sockets (default: {SERVERS[0]})",
    )
    made.add_argument(
        "--url-prefix",
        default=os.environ.get("URL_PREFIX", ""),
        metavar="PATH",
        help="where a proxy shows this site below a path of another one, that path, "
        "such as /personaplex (default: URL_PREFIX in the environment, else none)",
    )
    return made


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is no port between 1 and 65535")
    return int(text)
