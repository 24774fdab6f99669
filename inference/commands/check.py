"""Say which models this machine's GPU can serve, in which number formats.

Measures the memory's read rate and the cost of a launch, in under a minute, and
predicts for each format: whether one conversation keeps real time, milliseconds a
frame, how many conversations fit, memory. The same for cards that are not here, from
their published figures. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import TYPE_CHECKING

from inference.commands._options import add_pretend

if TYPE_CHECKING:
    from inference.engine.gpu.capacity import Card, Sizes

HEAD = (
    "weights kv    real time  ms/frame  full windows  minute each  memory GB  GB/frame"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        default="personaplex-7b",
        choices=("personaplex-7b", "tiny"),
        help="sizes of the model (default %(default)s)",
    )
    parser.add_argument("--device", default="cuda:0", help="default %(default)s")
    add_pretend(parser)
    parser.add_argument(
        "--cards",
        action="store_true",
        help="also what named cards would do by their published figures",
    )


def run(arguments: argparse.Namespace) -> int:
    import torch

    from inference.engine.gpu.capacity import CARDS, PAIRS, Sizes, fit
    from inference.network.config import PERSONAPLEX_7B, TINY

    known = {config.name: config for config in (PERSONAPLEX_7B, TINY)}
    sizes = Sizes(known[arguments.config])
    cards: list[Card] = []
    here: Card | None = None
    if torch.cuda.is_available():
        here = _measured(arguments.device)
        cards.append(here)
    else:
        _say("torch sees no CUDA GPU here.")
    if arguments.cards or not cards:
        cards += CARDS
    report = []
    for card in cards:
        rate = f"{card.bandwidth / 1e9:.0f} GB/s, {card.memory / 1e9:.0f} GB"
        _say(f"\n{card.name}: {rate}, {card.launch_us:.1f} us a launch\n{HEAD}")
        fits = [fit(sizes, card, *pair) for pair in PAIRS]
        for each in fits:
            _say(
                f"{each.weights:7s} {each.kv:5s} {'yes' if each.real_time else 'no':9s}"
                f"{each.frame_ms:10.1f}{each.full_window:14d}{each.minute:14d}"
                f"{each.memory_gb:11.1f}{each.bytes_gb:10.2f}"
            )
        if card is here:
            _say(_free_now(sizes, card, arguments.device))
        rows = [dataclasses.asdict(each) for each in fits]
        report.append(dataclasses.asdict(card) | {"fits": rows})
    _say("\n" + json.dumps({"model": arguments.config, "cards": report}))
    return 0


def _measured(name: str) -> Card:
    """With all of its memory, as if nothing else used it."""
    import torch

    from inference import cards
    from inference.engine.gpu.measure import measured_card

    device = torch.device(name)
    memory = cards.memory(device.index or 0)[1]
    return dataclasses.replace(measured_card(device), memory=memory)


def _free_now(sizes: Sizes, card: Card, name: str) -> str:
    """Of the smallest format, where other programs use the card too."""
    import torch

    from inference import cards
    from inference.engine.gpu.capacity import PREFERRED, fit, missing_mb

    index = torch.device(name).index or 0
    free = dataclasses.replace(card, memory=float(cards.memory(index)[0]))
    found = fit(sizes, free, *PREFERRED[-1])
    missing = missing_mb(free, found)
    formats = f"{found.weights} weights and {found.kv} KV"
    text = (
        f"Free now: {free.memory / 1e6:.0f} MB; one conversation takes "
        f"{found.memory_gb * 1e3:.0f} MB with {formats}"
    )
    if missing:
        text += f": {missing} MB are missing. Close what else uses the GPU."
    if cards.this_card(index).unified:
        text += "\nIts memory is the host's: what both use counts once."
    return text


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
