"""Write a model's weights in 8 or 4 bits, for the fast engine.

Reads the model once and writes one file beside it, packed-FORMAT.safetensors, which a
GPU then loads as it is. Needs as much host memory as the model has in bf16, and a third
more disk at most. Norms, embeddings and, in 4 bits, the logits keep more.
"""

from __future__ import annotations

import argparse
import sys

FORMATS = ("bf16", "int8", "fp8", "int4")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        required=True,
        help="a directory with config.json and weights, or the name of a known model",
    )
    parser.add_argument(
        "--weights", required=True, choices=FORMATS, help="the number format to write"
    )
    parser.add_argument(
        "--device", default="cpu", help="where to pack (default %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    import torch

    from inference.engine.gpu.loading import packed_now
    from inference.loading.checkpoint import load_model, model_folder
    from inference.loading.quantized import packed_path, save_packed

    folder = model_folder(arguments.model)
    model = load_model(folder, "cpu", torch.bfloat16)
    with torch.inference_mode():
        device = torch.device(arguments.device)
        packed = packed_now(model, arguments.weights, device)
        path = packed_path(folder, arguments.weights)
        save_packed(packed, path)
    before = sum(p.numel() * p.element_size() for p in model.lm.parameters())
    after = path.stat().st_size
    sys.stdout.write(f"{path}: {before / 1e9:.2f} GB in bf16, now {after / 1e9:.2f}\n")
    return 0
