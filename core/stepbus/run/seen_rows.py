"""What is said at the start of a run of rows that are scored, and that the weights have seen before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.fit.seen import Meeting, lineage_at, seen_before
from stepbus.kernel import Lineage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stepbus.kernel import Fit

MEND = "start from weights that have not seen them, or score other rows"


def sentences(fits: Sequence[Fit], start: Lineage) -> Iterator[tuple[str, str]]:
    """Yield (sentence, level) for each kind of set whose scores will not be of new rows.

    Args:
        fits: The plan.
        start: What the weights have seen that fits start with.
    """
    planned: dict[str, Lineage] = {}
    seen: dict[str, dict[tuple[str, int], str]] = {}
    unknown = False
    for fit in fits:
        before = start
        if fit.starts_from:
            before = planned.get(fit.starts_from) or lineage_at(fit.starts_from)
        trained = [rows for name, rows in fit.sets.items() if "train" in fit.roles_of(name)]
        planned[fit.name] = before | Lineage.of(trained)
        unknown = unknown or (before.unknown and any(getattr(rows, "source_key", None) for rows in fit.sets.values()))
        for name, _ in seen_before(before, fit):
            rows = fit.sets[name]
            key, at = rows.source_key, np.flatnonzero(before.among(rows))
            places = zip(rows.places[at].tolist(), rows.ids[at].tolist(), strict=True)
            seen.setdefault(name, {}).update({(key, place): str(row) for place, row in places})
    for name, found in seen.items():
        met = Meeting(len(found), _distinct(fits, name), tuple(list(found.values())[:2]))
        yield (
            f"the weights to start from have seen {met.said(f'{name} rows')}: scores of these rows say nothing of new "
            f"ones; {MEND}",
            "warning",
        )
    if unknown:
        yield (
            "which rows the weights to start from have seen is not known, because a loader gave them or an older "
            "stepbus wrote their folder: whether rows that are scored are among them, nobody can tell",
            "info",
        )


def _distinct(fits: Sequence[Fit], name: str) -> int:
    """Return how many different rows the sets of one name have in all fits."""
    sets: list[Any] = [fit.sets[name] for fit in fits if name in fit.sets]
    return len(Lineage.of(sets))
