"""What is said at the start of a run of rows that are scored, and that the weights have seen by then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepbus.fit.seen import Meeting, lineage_at, seen_in, trained_on
from stepbus.kernel import Lineage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from stepbus.kernel import Fit

BEFORE = (
    "the weights to start from have seen {}: scores of these rows say nothing of new ones; start from weights that "
    "have not seen them, or score other rows"
)
MEANWHILE = "{} are training rows as well: scores of these rows say nothing of new ones; score other rows"
UNKNOWN = (
    "which rows the weights to start from have seen is not known, because a loader gave them or an older stepbus wrote "
    "their folder: whether rows that are scored are among them, nobody can tell"
)


def sentences(fits: Sequence[Fit], start_of: Callable[[Fit], Lineage]) -> Iterator[str]:
    """Yield a sentence for each kind of set whose scores will not be of new rows.

    Args:
        fits: The plan.
        start_of: What the weights have seen that the configuration of a fit names.
    """
    planned: dict[str, Lineage] = {}
    found: dict[tuple[str, str], dict[tuple[str, int], str]] = {}
    unknown = False
    for fit in fits:
        before = start_of(fit)
        if fit.starts_from:
            before = planned.get(fit.starts_from) or lineage_at(fit.starts_from)
        own = trained_on(fit)
        planned[fit.name] = before | own
        unknown = unknown or (before.unknown and any(hasattr(rows, "pieces") for rows in fit.sets.values()))
        for words, lineage in ((BEFORE, before), (MEANWHILE, own)):
            for name, _ in seen_in(lineage, fit):
                found.setdefault((words, name), {}).update(_rows_in(lineage, fit.sets[name]))
    for (words, name), rows in found.items():
        met = Meeting(len(rows), _distinct(fits, name), tuple(list(rows.values())[:2]))
        yield words.format(met.said(f"{name} rows"))
    if unknown:
        yield UNKNOWN


def _rows_in(lineage: Lineage, rows: Any) -> Iterator[tuple[tuple[str, int], str]]:
    """Yield source and place, and the id, of each row of a set that is in a lineage."""
    among = lineage.among(rows)
    for piece, at in rows.pieces if among.any() else ():
        for place, index in zip(piece.places.tolist(), at.tolist(), strict=True):
            if among[index]:
                yield (piece.source_key, place), str(rows.ids[index])


def _distinct(fits: Sequence[Fit], name: str) -> int:
    """Return how many different rows the sets of one name have in all fits."""
    return len(Lineage.of(fit.sets[name] for fit in fits if name in fit.sets))
