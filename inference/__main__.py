"""``python -m inference COMMAND``: one module of :mod:`inference.commands` each.

A command module has a docstring (its first line is the help), ``add_arguments(parser)``
and ``run(arguments) -> int``, the exit code. Heavy imports belong into ``run``.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import pkgutil
import sys

from inference import commands
from inference.errors import PersonaplexError

log = logging.getLogger("inference")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m inference")
    parser.add_argument(
        "--log-level",
        default="INFO",
        choices=["DEBUG", "INFO", "WARNING", "ERROR"],
        help="least level of log lines, on standard error (default %(default)s)",
    )
    parser.add_argument(
        "--log-name",
        default="",
        help="stands in every log line, to tell several processes apart",
    )
    chosen = parser.add_subparsers(required=True, metavar="COMMAND")
    for found in pkgutil.iter_modules(commands.__path__):
        if found.name.startswith("_"):
            continue
        module = importlib.import_module(f"inference.commands.{found.name}")
        doc = module.__doc__ or ""
        command = chosen.add_parser(
            found.name.replace("_", "-"),
            help=doc.partition("\n")[0].rstrip("."),
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


def main(words: list[str] | None = None) -> int:
    arguments = build_parser().parse_args(words)
    who = f"[{arguments.log_name}] " if arguments.log_name else ""
    logging.basicConfig(
        level=arguments.log_level,
        format=f"%(asctime)s %(levelname)s {who}%(name)s %(message)s",
    )
    # These report every request, and every port scan as an error.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    try:
        return arguments.run(arguments)
    except PersonaplexError as error:
        detail = "" if str(error) == error.text else f" ({error})"
        log.error("%s%s", error.text, detail)
        return 1


if __name__ == "__main__":
    sys.exit(main())
