"""Rows of several sources as one set: training rows, and pseudo-labelled ones after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import evolve, field, frozen

from stepbus.base import DataError, IntArray, did_you_mean
from stepbus.text.rows import Rows


@frozen(eq=False)
class JoinedRows(Rows):
    """A set with rows of several sources; what rows tell, those of the first tell.

    Args:
        sources: All rows of each source, the first one's at the head.
        among: Which of them each row is from, int64 [N].
    """

    sources: tuple[Rows, ...] = field(default=(), repr=False)
    among: IntArray = field(default=np.zeros(0, dtype=np.int64), repr=False)

    @property
    def pieces(self) -> list[tuple[Rows, IntArray]]:
        """The rows of each source by themselves, and where they stand here."""
        found: list[tuple[Rows, IntArray]] = []
        for number, source in enumerate(self.sources):
            at = np.flatnonzero(self.among == number).astype(np.int64)
            if len(at):
                piece = Rows(
                    self.frame.iloc[at].reset_index(drop=True),
                    self.ids[at],
                    source.source,
                    self.name,
                    self.numbers[at],
                    source.in_lines,
                    source,
                    weights=None if self.weights is None else self.weights[at],
                    soft=None if self.soft is None else self.soft[at],
                    classes=self.classes,
                )
                found.append((piece, at))
        return found

    @property
    def places(self) -> IntArray:
        """Refused: a place says nothing without its source.

        Raises:
            ValueError: Always.
        """
        raise ValueError("these rows are of several sources, and each has places of its own: see pieces")

    def where(self, index: int) -> str:
        """Return where a row stands, as messages say it."""
        source = self.sources[self.among[index]]
        return f"{source.source}{':' if source.in_lines else ', row '}{self.numbers[index]}"

    def take(self, indices: Sequence[int] | IntArray, name: str | None = None) -> Rows:
        """Return some rows, in the order given."""
        return evolve(super().take(indices, name), among=self.among[np.asarray(indices, dtype=np.int64)])  # type: ignore[call-arg]


def join_rows(rows: Rows, more: Rows, cells: Mapping[str, Sequence[Any]] | None = None) -> Rows:
    """Return a set with further rows after its own; each still knows its source.

    Args:
        rows: N rows.
        more: M rows, with the columns of the others.
        cells: Column -> what stands in it for each of the further rows, [M], in place of what they have: labels.

    Returns:
        N + M rows. Where one side has weights, the other's rows count 1 each.

    Raises:
        DataError: A column is missing, a list has another length, or only one side has soft labels.

    Example:
        >>> sets = trainer.result.fit.sets
        >>> len(join_rows(sets["train"], sets["validation"], {"label": ["1"] * 16}))  # with labels of a plugin's
        80
    """
    import pandas as pd

    given = dict(cells or {})
    for column, values in given.items():
        if column not in rows.frame.columns:
            near = did_you_mean(column, list(rows.frame.columns))
            raise DataError(f"{rows.source}: expected a column {column!r}{near}, to join {more.source} by, got none")
        if len(values) != len(more):
            raise DataError(f"{more.source}: {column!r}: expected {len(more)} values, a row each, got {len(values)}")
    if (rows.soft is None) != (more.soft is None) or rows.classes != more.classes:
        raise DataError(
            f"{rows.source} and {more.source}: expected soft labels of the same classes on both sides, got those of "
            f"{', '.join(rows.classes) or 'none'} and of {', '.join(more.classes) or 'none'}; see with_soft_labels"
        )
    own = evolve(
        more,
        frame=more.frame.assign(**{name: pd.Series(values, dtype=object).to_numpy() for name, values in given.items()}),
    )
    frame = {}
    for column in rows.frame.columns:
        if column not in own.frame.columns:
            near = did_you_mean(column, list(own.frame.columns))
            raise DataError(
                f"{more.source}: to join {rows.source}: expected a column {column!r}{near}, got "
                f"{', '.join(map(str, own.frame.columns))}; give what stands in it: join_rows(…, {{{column!r}: […]}}), "
                "a value for each row"
            )
        # By their spelling: a column of another type would change what the other side's cells mean.
        frame[column] = pd.Series([*rows.cells(column), *own.cells(column)], dtype=object)
    weights = None
    if rows.weights is not None or more.weights is not None:
        both = [np.ones(len(each)) if each.weights is None else each.weights for each in (rows, more)]
        weights = np.concatenate(both)
    pieces = [(piece, at + shift) for each, shift in ((rows, 0), (more, len(rows))) for piece, at in each.pieces]
    sources = list({id(piece.origin): piece.origin for piece, _ in pieces}.values())
    among = np.zeros(len(rows) + len(more), dtype=np.int64)
    for piece, at in pieces:
        among[at] = next(number for number, source in enumerate(sources) if source is piece.origin)
    kinds = {rows.ids.dtype.kind, more.ids.dtype.kind}
    ids = [each.ids if len(kinds) == 1 else each.ids.astype(object) for each in (rows, more)]
    return JoinedRows(
        pd.DataFrame(frame),
        np.concatenate(ids),
        rows.source,
        rows.name,
        np.concatenate([rows.numbers, more.numbers]),
        rows.in_lines,
        rows.origin,
        rows.index,
        weights,
        None if rows.soft is None or more.soft is None else np.concatenate([rows.soft, more.soft]),
        rows.classes,
        sources=tuple(sources),
        among=among,
    )
