"""Figures as people read them, in templates. Knows no models."""

from django import template

register = template.Library()


@register.filter
def clock(seconds: float) -> str:
    """75 → "1:15", 3675 → "1:01:15"."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@register.filter
def milliseconds(value: float | None) -> str:
    """Without false precision: 4.2 ms, 87 ms, 1.2 s."""
    if value is None:
        return "–"
    if value >= 1000:
        return f"{value / 1000:.1f} s"
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


_SAMPLING_NAMES = {
    "temperature_text": "Text temperature",
    "top_k_text": "Text top-k",
    "temperature_audio": "Sound temperature",
    "top_k_audio": "Sound top-k",
    "greedy": "Greedy",
    "seed": "Seed",
}


@register.filter
def sampling_name(name: str) -> str:
    return _SAMPLING_NAMES.get(name, name)


@register.filter
def sampling_value(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
