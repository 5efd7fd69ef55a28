"""Which rows weights have seen: a row is a place in a source, and a source is known by its content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from attrs import field, frozen

Array = np.ndarray[Any, Any]


def _sorted(rows: Mapping[str, Any]) -> dict[str, Array]:
    """Return the places of each source in order and once, read-only; sources without any are left out."""
    found = {key: np.unique(np.asarray(rows[key], dtype=np.int64)) for key in sorted(rows)}
    for places in found.values():
        places.setflags(write=False)
    return {key: places for key, places in found.items() if len(places)}


@frozen(eq=False)
class Lineage:
    """Every row that weights have seen: that trained them, or by which it was decided which they are.

    Args:
        rows: Digest of a whole source -> the places of its rows, from 0; sorted int64.
        unknown: Whether they have seen others that nobody can name: batches of a loader, or what a folder of an older
            stepbus was trained on.
    """

    rows: Mapping[str, Array] = field(factory=dict, converter=_sorted, repr=lambda rows: f"<{len(rows)} sources>")
    unknown: bool = False

    @classmethod
    def of(cls, sets: Iterable[Any]) -> Lineage:
        """Return that of rows.

        Args:
            sets: Sets of rows with `pieces`, each with `source_key` and `places`; others, such as loaders, name none.
        """
        found: dict[str, list[Array]] = {}
        unknown = False
        for rows in sets:
            if hasattr(rows, "pieces"):
                for piece, _ in rows.pieces:
                    found.setdefault(piece.source_key, []).append(piece.places)
            else:
                unknown = True
        return cls({key: np.concatenate(places) for key, places in found.items()}, unknown)

    def __or__(self, other: Lineage) -> Lineage:
        if not other or other is self:
            return self
        rows = {
            key: np.concatenate([each.rows[key] for each in (self, other) if key in each.rows])
            for key in {*self.rows, *other.rows}
        }
        return Lineage(rows, self.unknown or other.unknown)

    def __bool__(self) -> bool:
        return bool(self.rows) or self.unknown

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Lineage):
            return NotImplemented
        same = self.unknown == other.unknown and self.rows.keys() == other.rows.keys()
        return same and all(np.array_equal(places, other.rows[key]) for key, places in self.rows.items())

    def __deepcopy__(self, memo: Any) -> Lineage:
        return self

    def among(self, rows: Any) -> Array:
        """Return which rows of a set are in it, bool [N]; of a loader, which names none, [0]."""
        if not hasattr(rows, "pieces"):
            return np.zeros(0, dtype=bool)
        found = np.zeros(len(rows), dtype=bool)
        for piece, at in rows.pieces if self.rows else ():  # a digest of the whole source is not made for nothing
            if piece.source_key in self.rows:
                found[at] = np.isin(piece.places, self.rows[piece.source_key])
        return found
