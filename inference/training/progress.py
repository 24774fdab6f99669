"""How far a training is, on stderr, and its loss curves as JSON and a picture.

Must not depend on what is trained. Values stay on the device until a line is due, so
that looking on does not slow the training.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

EVERY_SECONDS = 5.0
WINDOW = 25  # steps that one point of a curve is the mean of


class Curves:
    def __init__(self, folder: Path, name: str, shown: bool) -> None:
        self.folder, self.name, self.shown = folder, name, shown
        self.points: list[dict[str, float]] = []
        self.begun = self.reported = time.monotonic()
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.last = 0
        folder.mkdir(parents=True, exist_ok=True)

    def add(self, step: int, share: float, losses: dict[str, Tensor]) -> None:
        if not self.shown:
            return
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach().float()
        self.count += 1
        if self.count >= WINDOW or step < 3:
            self._point(step, share)

    def _point(self, step: int, share: float) -> None:
        names = list(self.sums)
        values = torch.stack([self.sums[n].reshape(()) for n in names]) / self.count
        point = {n: round(v, 5) for n, v in zip(names, values.tolist(), strict=True)}
        now = time.monotonic()
        self.points.append(
            {"step": step, "second": round(now - self.begun, 1), **point}
        )
        self.sums, self.count = {}, 0
        if now - self.reported >= EVERY_SECONDS or step < 3:
            rate = (step - self.last) / max(now - self.reported, 1e-6)
            self.reported, self.last = now, step
            figures = " ".join(f"{n}={v:.4g}" for n, v in point.items())
            done = int(share * 20)
            bar = "#" * done + "." * (20 - done)
            line = f"{self.name} [{bar}] step {step} {rate:.1f}/s {figures}\n"
            sys.stderr.write(line)
            sys.stderr.flush()

    def close(self) -> None:
        if self.shown:
            path = self.folder / f"{self.name}.curves.json"
            path.write_text(json.dumps(self.points))
            draw(path)


def draw(path: Path) -> None:
    """One small picture per quantity, beside the JSON."""
    try:
        import matplotlib
    except ImportError:  # not needed for training itself
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    points = json.loads(path.read_text())
    names = [n for n in points[-1] if n not in ("step", "second")]
    figure, axes = pyplot.subplots(
        -(-len(names) // 3), 3, figsize=(12, 2.6 * -(-len(names) // 3)), squeeze=False
    )
    for axis, name in zip(axes.flat, names, strict=False):
        known = [p for p in points if name in p]
        axis.plot([p["step"] for p in known], [p[name] for p in known])
        axis.set_title(name, fontsize=9)
    figure.tight_layout()
    figure.savefig(path.with_suffix("").with_suffix(".png"), dpi=80)
    pyplot.close(figure)
