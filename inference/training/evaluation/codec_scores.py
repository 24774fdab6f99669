"""What the codec keeps of speech: words, quality and speaker, before and after it."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch

from inference.loading.checkpoint import Model
from inference.timing import FRAME_SAMPLES, SAMPLE_RATE
from inference.training.evaluation.evaluators import Evaluators, Sound
from inference.training.evaluation.words import errors

CLIP_SECONDS = 6.0


@torch.inference_mode()
def through_codec(model: Model, sound: Sound) -> Sound:
    """Codes and back; as long as the sound."""
    padded = np.zeros(-(-len(sound) // FRAME_SAMPLES) * FRAME_SAMPLES, np.float32)
    padded[: len(sound)] = sound
    codes = model.mimi.encode(torch.from_numpy(padded)[None, None])
    return np.asarray(model.mimi.decode(codes)[0, 0].numpy()[: len(sound)])


def codec_scores(
    model: Model, clips: dict[str, list[tuple[str, Sound]]], evaluators: Evaluators
) -> dict[str, dict[str, dict[str, float]]]:
    """``clips``: by group, what is said (empty: unknown) and its sound."""
    tables = {}
    for group, members in clips.items():
        values: dict[str, list[float]] = defaultdict(list)
        wrong = {"original": [0, 0], "through the codec": [0, 0]}
        for text, sound in members:
            coded = through_codec(model, sound)
            for name, heard in (("original", sound), ("through the codec", coded)):
                whole = [(0.0, len(heard) / SAMPLE_RATE)]
                if text:
                    said = " ".join(w.text for w in evaluators.words(heard, whole))
                    found = errors(text, said)
                    wrong[name] = [
                        a + b for a, b in zip(wrong[name], found, strict=True)
                    ]
                values[f"DNSMOS, {name}"].append(evaluators.dnsmos(heard))
                values[f"DistillMOS, {name}"].append(evaluators.distillmos(heard))
            near = evaluators.speaker(sound) @ evaluators.speaker(coded)
            values["same speaker, cosine"].append(float(near))
        table = {
            name: {"value": round(float(np.mean(v)), 3), "n": len(v)}
            for name, v in values.items()
        }
        for name, (bad, count) in wrong.items():
            if count:
                rate = round(bad / count, 3)
                table[f"word errors, {name}"] = {"value": rate, "n": count}
        tables[group] = table
    return tables
