"""Options with environment variables, and those that several commands share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from inference import cards


class Option(NamedTuple):
    """The arguments of :func:`add_option`, for commands with a table of options."""

    flag: str
    variable: str
    default: str
    help: str
    kind: Callable[[str], Any] = str


def add_group(
    parser: argparse.ArgumentParser, title: str, options: tuple[Option, ...]
) -> None:
    group = parser.add_argument_group(title)
    for option in options:
        add_option(group, *option)


def add_option(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    flag: str,
    variable: str,
    default: str,
    help: str,
    kind: Callable[[str], Any] = str,
) -> None:
    """An option whose default an environment variable may give. argparse checks the
    variable's value as it checks the option's."""
    shown = f"default {default}" if default else "default: none"
    parser.add_argument(
        flag,
        type=kind,
        default=os.environ.get(variable) or default,
        help=f"{help} ({variable}; {shown})",
    )


def add_model_option(parser: argparse.ArgumentParser) -> None:
    add_option(
        parser,
        "--model",
        "MODEL",
        "tiny",
        "a directory with the files of a model, or the name of a built-in or a "
        "downloaded one",
    )
    add_models_dir(parser)


def add_models_dir(parser: argparse.ArgumentParser) -> None:
    add_option(
        parser,
        "--models-dir",
        "MODELS_DIR",
        "",
        "where downloaded models lie; else ~/.cache/personaplex/models",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    add_model_option(parser)
    add_option(
        parser,
        "--device",
        "DEVICE",
        "auto",
        "cpu, cuda or cuda:N; auto takes the first GPU, else the CPU",
    )
    add_option(
        parser,
        "--threads",
        "TORCH_THREADS",
        "1",
        "CPU threads of one tick; more than one rarely gains much",
        whole(1, 1024),
    )


def add_pretend(parser: argparse.ArgumentParser) -> None:
    """For developers: try on one card what another would do."""
    parser.add_argument(
        "--pretend",
        type=_pretended,
        default=os.environ.get(cards.PRETEND, ""),
        help=argparse.SUPPRESS,
    )


def _pretended(name: str) -> str:
    """Takes effect at once, as modules decide by it while they are imported."""
    try:
        cards.pretend(name)
    except cards.UnknownCard as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name


def whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {least} to {most}, not {text!r}"
            )
        return int(text)

    return read


def truth(text: str) -> bool:
    if text not in ("True", "False"):
        raise argparse.ArgumentTypeError(f"must be True or False, not {text!r}")
    return text == "True"


def one_of(*names: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in names:
            known = ", ".join(name or "nothing" for name in names)
            raise argparse.ArgumentTypeError(f"must be one of {known}, not {text!r}")
        return text

    return read


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.5 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"must be 0.5 to 3600 seconds, not {text!r}")
    return value
