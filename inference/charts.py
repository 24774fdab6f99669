"""Small line charts as SVG text. Knows no Django; takes numbers, escapes its texts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

WIDTH, HEIGHT = 640, 130
LEFT, RIGHT, TOP, BOTTOM = 56, 8, 22, 20
GAP_SECONDS = 60.0  # without a sample: the line is broken there

Point = tuple[float, float]  # seconds ago, value


def line_chart(title: str, unit: str, points: Sequence[Point], span: float) -> str:
    """The last ``span`` seconds, the newest on the right; "" without a point."""
    if not points:
        return ""
    ceiling = _ceiling(max(value for _, value in points))
    latest = min(points)[1]
    label = escape(f"{title}: {_number(latest)} {unit}".strip(), quote=True)
    shapes = [
        f'<text x="{LEFT}" y="14" font-weight="600">{label}</text>',
        *_grid(ceiling, span),
        *(_line(part, ceiling, span) for part in _parts(points)),
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" aria-label="{label}" fill="currentColor" font-size="11" '
        f'style="max-width:100%;height:auto">{"".join(shapes)}</svg>'
    )


def _grid(ceiling: float, span: float) -> Iterable[str]:
    right = WIDTH - RIGHT
    for share in (0.0, 0.5, 1.0):
        y = _y(share * ceiling, ceiling)
        yield (
            f'<line x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" '
            'stroke="currentColor" stroke-opacity="0.15"/>'
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
            f"{_number(share * ceiling)}</text>"
        )
    for quarter in range(5):
        ago = span * (4 - quarter) / 4
        anchor = {0: "start", 4: "end"}.get(quarter, "middle")
        text = "now" if quarter == 4 else f"−{ago / 60:.0f} min"
        yield (
            f'<text x="{_x(ago, span):.1f}" y="{HEIGHT - 4}" '
            f'text-anchor="{anchor}">{text}</text>'
        )


def _line(part: Sequence[Point], ceiling: float, span: float) -> str:
    if len(part) == 1:
        ((ago, value),) = part
        return f'<circle cx="{_x(ago, span):.1f}" cy="{_y(value, ceiling):.1f}" r="2"/>'
    dots = " ".join(f"{_x(a, span):.1f},{_y(v, ceiling):.1f}" for a, v in part)
    return (
        f'<polyline points="{dots}" fill="none" stroke="currentColor" '
        'stroke-width="1.5" stroke-linejoin="round"/>'
    )


def _parts(points: Sequence[Point]) -> Iterable[list[Point]]:
    part: list[Point] = []
    for point in sorted(points, reverse=True):
        if part and part[-1][0] - point[0] > GAP_SECONDS:
            yield part
            part = []
        part.append(point)
    yield part


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _x(ago: float, span: float) -> float:
    return WIDTH - RIGHT - (WIDTH - RIGHT - LEFT) * min(max(ago / span, 0.0), 1.0)


def _y(value: float, ceiling: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / ceiling


def _ceiling(largest: float) -> float:
    """The next 1, 2 or 5 times a power of ten, so that the scale can be read."""
    step = 1e-3
    while True:
        for factor in (1, 2, 5):
            if step * factor >= largest:
                return step * factor
        step *= 10
