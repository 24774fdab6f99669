"""Download a model from the Hugging Face hub.

Fetches the language model, the codec, the tokenizer and the packaged voices, checks
every file by its checksum and every tensor by its name and shape, and writes a
config.json, so that the folder serves with --model. What is there already is checked
and kept; a download that broke off continues where it was.

The model nvidia/personaplex-7b-v1 is gated: accept its licence on its page, then give a
token by `hf auth login` or HF_TOKEN. Needs about 18 GB of disk.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from inference.commands._options import add_models_dir


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        default="nvidia/personaplex-7b-v1",
        help="a repository of the hub, or personaplex-7b, moshiko or moshika "
        "(default %(default)s)",
    )
    parser.add_argument(
        "--revision",
        default="",
        help="commit, branch or tag (default: for PersonaPlex the commit that this "
        "version was made for, else main)",
    )
    parser.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="the folder to write (default: one of the model's name in --models-dir; "
        "--model knows it by that name then)",
    )
    parser.add_argument(
        "--if-missing",
        action="store_true",
        help="leave alone what is there, and ask nothing of the hub then: a folder, a "
        "built-in model, or a downloaded one whose files have their sizes",
    )
    add_models_dir(parser)


def run(arguments: argparse.Namespace) -> int:
    from inference.console import Bar, as_bytes, as_time
    from inference.hub.download import download, source_of
    from inference.hub.remote import Repository
    from inference.loading.checkpoint import models_folder

    source = source_of(arguments.model, arguments.revision)
    folder = arguments.to or models_folder(arguments.models_dir) / source.folder
    if arguments.if_missing and _is_there(arguments.model, folder):
        return 0
    began = time.monotonic()
    done = download(
        Repository(source.repository, source.revision),
        source,
        folder,
        lambda name, size: Bar(name, size, "B"),
    )
    what = "downloaded in" if done.fetched else "was there, checked in"
    sys.stdout.write(
        f"{source.repository} at {done.commit[:12]}: {done.files} files, "
        f"{as_bytes(done.bytes)}, {done.voices} voices, {what} "
        f"{as_time(time.monotonic() - began)}. Serve it with --model {done.folder}\n"
    )
    return 0


def _is_there(model: str, target: Path) -> bool:
    """CheckpointError for a folder whose files are no model, or an unknown name."""
    from inference.hub.download import MOSHI, PERSONAPLEX, is_complete
    from inference.loading.checkpoint import built_in_models, check_folder, model_folder

    if Path(model).is_dir():
        check_folder(Path(model))
        return True
    if model in built_in_models() or is_complete(target):
        return True
    if "/" not in model and model not in [s.folder for s in (PERSONAPLEX, *MOSHI)]:
        model_folder(model, target.parent)  # says which names there are
    return False
