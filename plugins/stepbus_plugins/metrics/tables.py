"""The tables shown at the end: who was taken for whom, and each class's own scores, in words."""

from __future__ import annotations

from stepbus_plugins.metrics.counts import Counts

Table = tuple[str, list[str], list[list[str]]]

# A wider confusion table does not fit a terminal.
WIDEST = 12


def tables(found: Counts) -> list[Table]:
    """Return (title, columns, rows) of what is worth showing of a set.

    Args:
        found: What its decisions come to.
    """
    shown: list[Table] = []
    if not found.labels and len(found.names) <= WIDEST:
        rows = [[name, *map(_count, row)] for name, row in zip(found.names, found.confusion.tolist(), strict=True)]
        shown.append((f"confusion (rows: true, columns: predicted{found.at})", ["", *found.names], rows))
    kind = "label" if found.labels else "class"
    several = found.labels and len(set(found.thresholds)) > 1
    columns = [kind, *(["threshold"] if several else []), "precision", "recall", "f1"]
    columns.append("weight" if found.weighted else "rows")
    scores = [found.scores[name] for name in ("precision", "recall", "f1")]
    each = [
        [
            name,
            *([f"{found.thresholds[k]:g}"] if several else []),
            *(_share(values[k]) for values in scores),
            _count(found.true[k]),
        ]
        for k, name in enumerate(found.names)
    ]
    return [*shown, (f"each {kind}{found.at}", columns, each)]


def _count(number: float) -> str:
    """Return a number of rows, or a sum of weights."""
    return str(int(number)) if number == int(number) else f"{number:.4g}"


def _share(share: float) -> str:
    """Return a share with four digits, or a dash where there is nothing to share."""
    return f"{share:.4f}" if share == share else "-"
