"""Rows that were seen before, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

from stepbus.kernel import Lineage
from stepbus.text.rows import rows_that_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stepbus.kernel import Fit


@frozen(eq=False)
class Meeting:
    """Rows of a set that were seen before.

    Args:
        count: How many of them.
        total: Rows of the set.
        examples: The ids of a few.
    """

    count: int
    total: int
    examples: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.count > 0

    def said(self, what: str = "rows") -> str:
        """Return it in words: "9 of 44 validation rows (20%), such as '3' and '7'"."""
        share = 100 * self.count / max(1, self.total)
        percent = f"{share:.0f}" if share >= 1 else "less than 1"
        such = ", such as " if self.count > 1 else ": "
        return f"{self.count:,} of {self.total:,} {what} ({percent}%){such}{' and '.join(map(repr, self.examples))}"


def meeting(lineage: Lineage, rows: Any) -> Meeting:
    """Return how many rows of a set are in a lineage, and the ids of two of them.

    Args:
        lineage: What weights have seen.
        rows: The set.
    """
    among = lineage.among(rows)
    return Meeting(int(among.sum()), len(among), tuple(str(rows.ids[place]) for place in np.flatnonzero(among)[:2]))


def trained_on(fit: Fit) -> Lineage:
    """Return the training rows of a fit; those of weight 0 are as if they were not there."""
    return Lineage.of(_that_count(rows) for name, rows in fit.sets.items() if "train" in fit.roles_of(name))


def _that_count(rows: Any) -> Any:
    named = hasattr(rows, "pieces")  # a loader names none
    return rows_that_count(rows) if named and getattr(rows, "weights", None) is not None else rows


def seen_in(lineage: Lineage, fit: Fit) -> Iterator[tuple[str, Meeting]]:
    """Yield the sets of a fit that score or decide and are not all of new rows, and the rows of each that were seen.

    Args:
        lineage: What weights have seen.
        fit: The fit.
    """
    for name, rows in fit.sets.items():
        if {"score", "stop"} & set(fit.roles_of(name)) and (met := meeting(lineage, rows)):
            yield name, met


def warnings_of(lineage: Lineage, fit: Fit) -> Iterator[str]:
    """Yield what is said of a fit beside its scores: a sentence for each set that is not all of new rows.

    Args:
        lineage: What its weights had seen.
        fit: The fit.
    """
    for name, met in seen_in(lineage, fit):
        words = f"{fit.name}: its weights had seen {met.said(f'{name} rows')} before they were scored"
        yield f"{words}: a score of these rows says nothing of new ones"
