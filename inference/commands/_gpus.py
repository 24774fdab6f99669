"""Turns ``serve --gpus`` into one command line for each GPU, with name and port."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import re
import socket
import sys
from urllib.parse import urlsplit

from inference.errors import PersonaplexError
from inference.worker.fleet import WorkerCommand
from inference.worker.gpus import Gpu, usable_gpus

log = logging.getLogger(__name__)

ALL, AUTO = "all", "auto"
MOST = 64  # GPUs of one host
LAST_PORT = 65535
OURS = ("run", "log_level", "log_name", "force")  # no options of serve with a value


class WrongGpus(ValueError):
    """Options that contradict each other or the machine; the text says how."""


class NoGpus(PersonaplexError):
    code = "no_gpus"
    text = (
        "No GPU was found for --gpus: look at nvidia-smi and at CUDA_VISIBLE_DEVICES, "
        "or leave out --gpus (WORKER_GPUS) to serve on the CPU."
    )


def gpu_choice(text: str) -> str:
    """An option's value: nothing, all, auto, or numbers."""
    if text in ("", ALL, AUTO):
        return text
    numbers = text.split(",")
    if not re.fullmatch(r"\d{1,2}(,\d{1,2})*", text) or any(
        int(number) >= MOST for number in numbers
    ):
        raise argparse.ArgumentTypeError(
            f"must be all, auto or numbers from 0 such as 0,1, not {text!r}"
        )
    if len({int(number) for number in numbers}) < len(numbers):
        raise argparse.ArgumentTypeError(f"{text} names a GPU twice")
    return text


def worker_commands(arguments: argparse.Namespace) -> list[WorkerCommand]:
    """Of the workers that a parent process has to start. Empty: this process serves
    itself, as with ``auto`` without several GPUs, or with --device."""
    wanted = arguments.gpus
    if not wanted or (wanted == AUTO and arguments.device != "auto"):
        return []
    if arguments.device not in ("auto", "cuda"):
        raise WrongGpus(
            f"--gpus {wanted} and --device {arguments.device} (WORKER_GPUS, DEVICE) "
            "contradict each other: leave one out."
        )
    # Who has several NVIDIA GPUs has NVML: "auto" need not wait for torch.
    found = usable_gpus(ask_torch=wanted != AUTO)
    if wanted == AUTO and len(found) < 2:
        return []
    if not found:
        raise NoGpus()
    made = [_worker_command(arguments, gpu) for gpu in _chosen(wanted, found)]
    log.info("%d workers, one on each GPU", len(made))
    return made


def _chosen(wanted: str, found: list[Gpu]) -> list[Gpu]:
    if wanted in (ALL, AUTO):
        return found
    numbers = [int(number) for number in wanted.split(",")]
    if missing := [number for number in numbers if number >= len(found)]:
        raise WrongGpus(
            f"--gpus {wanted}: there is no GPU {missing[0]}. "
            f"Here are {len(found)}, counted from 0."
        )
    return [found[number] for number in numbers]


def _worker_command(arguments: argparse.Namespace, gpu: Gpu) -> WorkerCommand:
    label = f"gpu{gpu.number}"
    port = _raised(arguments.port, gpu.number, "--port") if arguments.port else 0
    log.info(
        "%s: %s (%s), port %s", label, gpu.name, gpu.visible, port or "any free one"
    )
    changed = {
        "gpus": "",
        "device": "cuda",  # never the CPU instead
        "port": port,
        "name": f"{arguments.name or socket.gethostname()}-{label}",
        "public_url": _public_url(arguments, gpu.number),
    }
    words = {**vars(arguments), **changed}
    argv = [sys.executable, "-m", "inference", "--log-name", label]
    argv += ["--log-level", words["log_level"], "serve"]
    for name, value in words.items():
        if name not in OURS:
            argv += [f"--{name.replace('_', '-')}", str(value)]
    argv += ["--force"] if arguments.force else []
    return WorkerCommand(
        label, argv, {**os.environ, "CUDA_VISIBLE_DEVICES": gpu.visible}
    )


def _public_url(arguments: argparse.Namespace, number: int) -> str:
    """Its port is raised as --port is."""
    url: str = arguments.public_url
    if not url:
        return ""
    parts, port = urlsplit(url), None
    with contextlib.suppress(ValueError):
        port = parts.port
    if port is None or not arguments.port:
        raise WrongGpus(
            "--gpus: --public-url (WORKER_PUBLIC_URL) needs a port of its own, such as "
            "ws://gpu-1:8765, and --port must not be 0: both are raised by the GPU's "
            "number."
        )
    host = parts.netloc.rpartition(":")[0]
    raised = f"{host}:{_raised(port, number, '--public-url')}"
    return parts._replace(netloc=raised).geturl()


def _raised(port: int, number: int, option: str) -> int:
    if port + number > LAST_PORT:
        raise WrongGpus(
            f"{option}: {port} + {number}, the GPU's number, is no port. Lower it."
        )
    return port + number
