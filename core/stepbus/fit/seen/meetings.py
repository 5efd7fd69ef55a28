"""Rows that were seen before, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stepbus.kernel import Fit, Lineage


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


def seen_before(start: Lineage, fit: Fit) -> Iterator[tuple[str, Meeting]]:
    """Yield the sets of a fit whose scores or decisions are not of new rows, and the rows of each that were seen.

    Args:
        start: What the weights that the fit starts with have seen.
        fit: The fit.
    """
    for name, rows in fit.sets.items():
        roles = fit.roles_of(name)
        if ("score" in roles or "stop" in roles) and (met := meeting(start, rows)):
            yield name, met
