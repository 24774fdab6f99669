"""The evaluation's table, for people."""

from __future__ import annotations

from inference.training.evaluation.measures import Table

Figures = dict[str, dict[str, float]]


def figures_of(table: Table) -> Figures:
    figures = table.figures()
    wrong, words = (table.values.get(k, []) for k in ("_word errors", "_words"))
    if sum(words):
        rate = round(sum(wrong) / sum(words), 3)
        figures["words: errors against its own text"] = {"value": rate, "n": sum(words)}
    return {k: v for k, v in sorted(figures.items()) if not k.startswith("_")}


def markdown(tables: dict[str, Figures]) -> str:
    columns = list(tables)
    names = sorted({name for figures in tables.values() for name in figures})
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name in names:
        cells = [_cell(tables[column].get(name)) for column in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(figure: dict[str, float] | None) -> str:
    if figure is None:
        return "–"
    return f"{figure['value']:.3g} (n = {figure['n']:.0f})"
