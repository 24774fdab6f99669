"""The published ``moshi`` at the shapes of its 7B model, on the same clock: what
``bench --against moshi`` runs.

Needs the package (0.1.0 or newer). Random weights; its rings are read whole whatever
they hold, so a window that is not full costs it the same. Eight depth steps, as ours.
"""

from __future__ import annotations

import gc
from statistics import median
from typing import Any

import numpy as np
import torch

from inference.engine.gpu.measure import percentile, wall_times
from inference.timing import FRAME_SAMPLES

WARM_TICKS = 10


class Moshi:
    """One tick of all sessions: int16 sound in host memory to the same."""

    def __init__(
        self, sessions: int, device: torch.device, shapes: dict[str, Any] | None = None
    ) -> None:
        from moshi.models import loaders
        from moshi.models.lm import LMGen, LMModel

        self.device = device
        kind = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.mimi = _codec(loaders, device)
        wanted = shapes or loaders._lm_kwargs
        lm = LMModel(device=device, dtype=kind, **wanted).to(device, kind).eval()
        self.lm = LMGen(lm)
        self.mimi.streaming_forever(sessions)
        self.lm.streaming_forever(sessions)

    def tick(self, sound: np.ndarray) -> np.ndarray | None:
        """int16 [B, 1920]; None until its streams' delays are filled."""
        pcm = torch.from_numpy(sound).to(self.device).float().div_(32768)[:, None]
        tokens = self.lm.step(self.mimi.encode(pcm))
        if tokens is None:
            return None
        spoken = self.mimi.decode(tokens[:, 1:])[:, 0].mul_(32767).clamp_(-32768, 32767)
        heard: np.ndarray = spoken.to(torch.int16).cpu().numpy()
        return heard


@torch.inference_mode()
def moshi_row(
    sessions: int,
    ticks: int,
    device: torch.device,
    shapes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    row: dict[str, Any] = {"engine": "moshi", "sessions": sessions}
    gc.collect()  # its streaming state refers to itself, and holds an earlier row
    torch.cuda.empty_cache()
    try:
        theirs = Moshi(sessions, device, shapes)
        generator = np.random.default_rng(1)
        sound = generator.normal(0, 1800, (sessions, FRAME_SAMPLES)).astype(np.int16)
        wall_times(lambda: theirs.tick(sound), WARM_TICKS)
        walls, _ = wall_times(lambda: theirs.tick(sound), ticks)
    except torch.OutOfMemoryError:
        return row | {"error": "does not fit"}
    tick = {"p50": median(walls), "p99": percentile(walls, 0.99), "max": max(walls)}
    row["tick_ms"] = {name: round(ms, 3) for name, ms in tick.items()}
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        row["memory_gb"] = round((total - free) / 1e9, 2)
    return row


def _codec(loaders: Any, device: torch.device) -> Any:
    """As its own loader builds it, without a file to load."""
    encoder = loaders.SEANetEncoder(**loaders._seanet_kwargs)
    transformers = [
        loaders.transformer.ProjectedTransformer(
            device=device, **loaders._transformer_kwargs
        )
        for _ in range(2)
    ]
    model = loaders.MimiModel(
        encoder,
        loaders.SEANetDecoder(**loaders._seanet_kwargs),
        loaders.SplitResidualVectorQuantizer(**loaders._quantizer_kwargs),
        channels=1,
        sample_rate=loaders.SAMPLE_RATE,
        frame_rate=loaders.FRAME_RATE,
        encoder_frame_rate=loaders.SAMPLE_RATE / encoder.hop_length,
        causal=True,
        resample_method="conv",
        encoder_transformer=transformers[0],
        decoder_transformer=transformers[1],
    ).to(device)
    model.eval()
    model.set_num_codebooks(8)
    return model
