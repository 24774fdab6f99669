"""Line charts of the last hour, as unfold's chart component gives them to Chart.js.
It must not depend on Django."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

GAP_SECONDS = 60.0  # without a sample: the line is broken there
TICKS = "#9ca3af"  # as unfold's own charts, for both themes
LINE = "var(--color-primary-600)"  # unfold's script looks the value up

Point = tuple[float, float]  # seconds ago, value


@dataclass(frozen=True)
class Chart:
    label: str  # title and latest value, for those who don't see the chart too
    data: str  # JSON
    options: str


def line_chart(
    title: str, unit: str, points: Sequence[Point], span: float
) -> Chart | None:
    """The last ``span`` seconds, the newest on the right; None without a point."""
    if not points:
        return None
    label = f"{title}: {_number(min(points)[1])} {unit}".strip()
    parts = list(_parts(points))
    dataset = {
        "label": f"{title} ({unit})" if unit else title,
        "data": list(_with_gaps(parts)),
        "borderColor": LINE,
        "borderWidth": 2,
        # A point alone is no line: it is drawn as a dot.
        "pointRadius": [
            2 if len(part) == 1 else 0 for part in parts for _ in range(len(part) + 1)
        ],
        "pointBackgroundColor": TICKS,
        "spanGaps": False,
    }
    options = _options(str(dataset["label"]), span)
    return Chart(label, json.dumps({"datasets": [dataset]}), json.dumps(options))


def _with_gaps(parts: Sequence[Sequence[Point]]) -> Iterator[dict[str, float | None]]:
    """Chart.js breaks a line at a point without a value."""
    for part in parts:
        for ago, value in part:
            yield {"x": round(-ago / 60, 3), "y": value}
        yield {"x": round(-part[-1][0] / 60, 3), "y": None}


def _options(y_title: str, span: float) -> dict[str, Any]:
    minutes = span / 60

    def axis(title: str, **more: Any) -> dict[str, Any]:
        return {
            "type": "linear",
            "title": {"display": True, "text": title, "color": TICKS},
            **more,
        }

    return {
        "animation": False,
        "responsive": True,
        "maintainAspectRatio": False,
        "interaction": {"mode": "nearest", "axis": "x", "intersect": False},
        "plugins": {"legend": {"display": False}},
        "scales": {
            "x": axis(
                "minutes from now",
                min=-minutes,
                max=0,
                ticks={"stepSize": minutes / 4, "color": TICKS},
            ),
            "y": axis(
                y_title, beginAtZero=True, ticks={"maxTicksLimit": 5, "color": TICKS}
            ),
        },
    }


def _parts(points: Sequence[Point]) -> Iterator[list[Point]]:
    part: list[Point] = []
    for point in sorted(points, reverse=True):
        if part and part[-1][0] - point[0] > GAP_SECONDS:
            yield part
            part = []
        part.append(point)
    yield part


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"
