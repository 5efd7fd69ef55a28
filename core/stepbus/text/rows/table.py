"""Named sets of rows: read, checked, told apart. A message about a row says where it stands."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import evolve, field, frozen

from stepbus.base import DataError, IntArray, did_you_mean
from stepbus.config import DataSettings
from stepbus.text.rows.cells import (
    NO,
    YES,
    Kind,
    NotOneValue,
    as_number,
    half_a_character,
    kind_of,
    one_time,
    spellings,
    why_words,
)
from stepbus.text.rows.content import kept_keys
from stepbus.text.rows.frames import a_thing, as_frame, checked_frame
from stepbus.text.rows.ids import id_column
from stepbus.text.rows.readers import label_of, read_table
from stepbus.text.rows.weights import FloatArray, checked_soft, checked_weights

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


@frozen(eq=False)
class Rows:
    """A named set of rows.

    Args:
        frame: The columns, as read; `cells` has them in their one spelling.
        ids: What names each row in predictions, [N].
        source: The file, or what stands for it in messages.
        name: What the set is for: train, validation, test.
        numbers: Where each row stands in the source, from 1: a line of a text file, else a row; int64 [N].
        in_lines: Whether `numbers` are lines.
        whole: All rows of the source, where these are a part of them; what is told by the rows is told by all.
        index: Names of the frame's index, for a message.
        weights: What each row counts in losses and metrics, float64 [N]; None counts all alike.
        soft: How probable each class is, float64 [N, K]; None where there are no soft labels.
        classes: The K classes of `soft`.

    Example:
        >>> trainer.result.fit.sets["train"].take([0, 3]).cells("label")  # the sets of a fit are Rows
        ['0', '1']
    """

    frame: pd.DataFrame
    ids: np.ndarray[tuple[int, ...], np.dtype[Any]]
    source: str
    name: str
    numbers: IntArray
    in_lines: bool = False
    whole: Rows | None = None
    index: tuple[str, ...] = ()
    weights: FloatArray | None = None
    soft: FloatArray | None = None
    classes: tuple[str, ...] = ()
    _known: dict[Any, Any] = field(factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def origin(self) -> Rows:
        """All rows of the source: themselves where they are no part."""
        return self if self.whole is None else self.whole

    @property
    def source_key(self) -> str:
        """What the whole source holds, in 16 hexadecimal digits; the same rows in another file or frame have it too."""
        return kept_keys(self.origin.frame, self.origin._known)[0]

    @property
    def row_keys(self) -> np.ndarray[Any, Any]:
        """What each row holds, uint64 [N]; the same row of any source with these columns has it too."""
        return kept_keys(self.origin.frame, self.origin._known)[1][self.places]

    @property
    def places(self) -> IntArray:
        """Where each row stands among the rows of the whole source, from 0; the same for a file and a frame, [N]."""
        return np.searchsorted(self.origin.numbers, self.numbers).astype(np.int64)

    @property
    def pieces(self) -> list[tuple[Rows, IntArray]]:
        """The rows of each source by themselves, and where they stand here: all of them, but for joined rows."""
        return [(self, np.arange(len(self), dtype=np.int64))]

    def where(self, index: int) -> str:
        """Return where a row stands, as messages say it: "train.csv:14", or "train frame, row 14"."""
        return f"{self.source}{':' if self.in_lines else ', row '}{self.numbers[index]}"

    def error(self, index: int, column: str, problem: str) -> DataError:
        """Return the error about one value: where, which column, and the problem ("expected …, got …")."""
        return DataError(f"{self.where(index)}: column {column!r}: {problem}")

    def column(self, name: str, setting: str) -> pd.Series[Any]:
        """Return one column.

        Args:
            name: Its name.
            setting: The setting that names it, for the message.

        Raises:
            DataError: There is no such column.
        """
        if name in self.frame.columns:
            return self.frame[name]
        known = list(self.frame.columns)
        hint = ""
        if name in self.index:
            hint = f"; {name!r} is the frame's index: hand over frame.reset_index()"
        elif len(known) == 1 and (marks := [mark for mark in ",;\t|" if mark in known[0]]):
            hint = f"; the fields are separated by {marks[0]!r}, perhaps: set data.separator"
        raise DataError(
            f"{self.source}: {setting}: expected a column {name!r}{did_you_mean(name, known)}, "
            f"got {', '.join(known[:20])}{', …' if len(known) > 20 else ''}{hint}"
        )

    def cells(self, name: str, instead: str = "") -> list[str | None]:
        """Return a column that is there as it is spelt in every kind of file, None for gaps, [N].

        Args:
            name: The column.
            instead: What to write where a cell holds several values, for the message.

        Raises:
            DataError: A cell holds a list, a mapping or another thing that is no single value.
        """
        if name not in self._known:
            try:
                found = spellings(self.frame[name])
            except NotOneValue as error:
                shown = repr(error.value)
                raise self.error(
                    error.index,
                    name,
                    f"expected one value, got {a_thing(error.value)}: "
                    f"{shown[:60]}{'…' if len(shown) > 60 else ''}{'; ' if instead else ''}{instead}",
                ) from None
            if (broken := half_a_character(found)) is not None:
                raise self.error(broken, name, f"expected text, got half a character in {(found[broken] or '')[:60]!a}")
            self._known[name] = found
        known: list[str | None] = self._known[name]
        return known

    def present(self, name: str, setting: str, what: str) -> list[str]:
        """Return the cells of a column that has no gaps, [N].

        Args:
            name: The column.
            setting: The setting that names it.
            what: What its cells are ("a label"), for the message.

        Raises:
            DataError: There is no such column, or a cell is empty or holds several values.
        """
        self.column(name, setting)
        found = []
        for index, cell in enumerate(self.cells(name, f"{what} is one text or number")):
            if cell is None:
                count = self.cells(name).count(None)
                more = f" ({count} rows have none)" if count > 1 else ""
                raise self.error(index, name, f"expected {what}, got an empty field{more}")
            found.append(cell)
        return found

    def missing(self, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Return where a column that is there has no value: None, NaN, or nothing but blanks, bool [N]."""
        return np.array([cell is None for cell in self.cells(name)], dtype=bool)

    def kind(self, name: str) -> Kind:
        """Return what the cells of a column are, told by all rows of the source: number, boolean or words."""
        origin = self.origin if name in self.origin.frame.columns else self
        key = (name, "kind")
        if key not in origin._known:
            cells = origin.cells(name)
            origin._known[key] = kind_of(cells)
            if origin._known[key] == "words" and (why := why_words(cells, origin.where)):
                origin.say(f"column {name!r} is read as words, not numbers{why}")
        found: Kind = origin._known[key]
        return found

    def as_numbers(self, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        """Return a column of numbers, NaN for gaps, float64 [N].

        Raises:
            DataError: A cell is no number, or an infinite one.
        """
        found = np.full(len(self), np.nan)
        for index, cell in enumerate(self.cells(name)):
            number = as_number(cell)
            if number is None:
                raise self.error(index, name, f"expected a number, as in the training rows, got {cell!r}")
            if np.isinf(number):
                raise self.error(index, name, f"expected a finite number, got {cell}")
            found[index] = number
        return found

    def as_booleans(self, name: str) -> list[bool | None]:
        """Return a column of yes and no, None for gaps, [N].

        Raises:
            DataError: A cell is neither.
        """
        found: list[bool | None] = []
        for index, cell in enumerate(self.cells(name)):
            if cell is not None and cell.strip() not in YES | NO:
                raise self.error(index, name, f"expected True or False, as in the training rows, got {cell!r}")
            found.append(None if cell is None else cell.strip() in YES)
        return found

    def as_words(self, name: str) -> list[str | None]:
        """Return a column of words without blanks around them, time stamps in their one spelling, None for gaps."""
        return [None if cell is None else one_time(cell.strip()) for cell in self.cells(name)]

    def say(self, text: str) -> None:
        """Warn of something about the source, once however many parts of it find the same."""
        if text not in self.origin._known:
            self.origin._known[text] = True
            log.warning("%s: %s", self.source, text)

    def with_weights(self, weights: Any) -> Rows:
        """Return the rows, each counting as much as its weight in losses and metrics: 0 or more, [N]."""
        return evolve(self, weights=checked_weights(self, weights))

    def with_soft_labels(self, soft: Any, classes: Sequence[str]) -> Rows:
        """Return the rows with the probability of each class as labels, [N, K], and the names of the K classes."""
        found, names = checked_soft(self, soft, classes)
        return evolve(self, soft=found, classes=names)

    def take(self, indices: Sequence[int] | IntArray, name: str | None = None) -> Rows:
        """Return some rows, in the order given.

        Args:
            indices: Row positions, int [M].
            name: Name of the new set; the same when None.
        """
        rows = np.asarray(indices, dtype=np.int64)
        return evolve(
            self,
            frame=self.frame.iloc[rows].reset_index(drop=True),
            ids=self.ids[rows],
            numbers=self.numbers[rows],
            weights=None if self.weights is None else self.weights[rows],
            soft=None if self.soft is None else self.soft[rows],
            name=self.name if name is None else name,
            whole=self.origin,
        )


def read_rows(source: Any, *, name: str, config: DataSettings) -> Rows:
    """Read a set of rows.

    Args:
        source: A file or another source that a reader takes (`sqlite:FILE#TABLE`), a frame or another table, a list of
            dictionaries, a dictionary of columns, or rows (returned as they are).
        name: What the set is for: train, validation, test.
        config: The data section; `id`, `readers`, `encoding` and `separator` are used.

    Returns:
        The rows, at least one.

    Raises:
        DataError: It cannot be read, has no rows, or its ids are missing or not unique.
    """
    if isinstance(source, Rows):
        return source
    lines: IntArray | None = None
    index: tuple[str, ...] = ()
    if isinstance(source, str | Path):
        label = label_of(str(source))
        frame, lines = read_table(str(source), config)
    else:
        label = f"{name} frame"
        frame = as_frame(source, label)
        index = tuple(str(level) for level in frame.index.names if level is not None)
        frame = checked_frame(frame, label)
    positions = np.arange(len(frame), dtype=np.int64)
    numbers = positions + 1 if lines is None else lines
    rows = Rows(frame, positions, label, name, numbers, lines is not None, index=index)
    return rows if config.id is None else evolve(rows, ids=id_column(rows, config.id))


def shown(value: Any) -> str:
    """Return a value as messages show it: text in quotes, a number without its NumPy type."""
    return repr(value) if isinstance(value, str) else str(value)
