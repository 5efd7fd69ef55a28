"""Which rows weights have seen: places in a source, which is known by its content; in others, rows of one content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from attrs import field, frozen

Array = np.ndarray[Any, Any]


def _sorted(rows: Mapping[str, Any], kind: type[Any] = np.int64) -> dict[str, Array]:
    """Return the numbers of each source in order and once, read-only; sources without any are left out."""
    found = {key: np.unique(np.asarray(rows[key], dtype=kind)) for key in sorted(rows)}
    for numbers in found.values():
        numbers.setflags(write=False)
    return {key: numbers for key, numbers in found.items() if len(numbers)}


def _sorted_keys(contents: Mapping[str, Any]) -> dict[str, Array]:
    return _sorted(contents, np.uint64)


def _joined(one: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, Array]:
    return {key: np.concatenate([each[key] for each in (one, other) if key in each]) for key in {*one, *other}}


def _same(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(numbers, other[key]) for key, numbers in one.items())


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
    contents: Mapping[str, Array] = field(factory=dict, converter=_sorted_keys, repr=False)

    @classmethod
    def of(cls, sets: Iterable[Any]) -> Lineage:
        """Return that of rows.

        Args:
            sets: Sets of rows with `pieces`, each with `source_key`, `places` and perhaps `row_keys`; others, such as
                loaders, name none.
        """
        found: dict[str, list[Array]] = {}
        contents: dict[str, list[Array]] = {}
        unknown = False
        for rows in sets:
            if hasattr(rows, "pieces"):
                for piece, _ in rows.pieces:
                    found.setdefault(piece.source_key, []).append(piece.places)
                    if hasattr(piece, "row_keys"):
                        contents.setdefault(piece.source_key, []).append(piece.row_keys)
            else:
                unknown = True
        joined = ({key: np.concatenate(each) for key, each in numbers.items()} for numbers in (found, contents))
        rows, keys = joined
        return cls(rows, unknown, keys)

    def __or__(self, other: Lineage) -> Lineage:
        if not other or other is self:
            return self
        unknown = self.unknown or other.unknown
        return Lineage(_joined(self.rows, other.rows), unknown, _joined(self.contents, other.contents))

    def __bool__(self) -> bool:
        return bool(self.rows) or self.unknown

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Lineage):
            return NotImplemented
        same = self.unknown == other.unknown and _same(self.rows, other.rows)
        return same and _same(self.contents, other.contents)

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
            # Two equal rows of one source are two; in another source, such as a part of it, content is all there is.
            others = [keys for source, keys in self.contents.items() if source != piece.source_key]
            if others and hasattr(piece, "row_keys"):
                found[at] |= np.isin(piece.row_keys, np.concatenate(others))
        return found
