"""Named sets of rows: read, checked, split. A message about a row says where it stands."""

from __future__ import annotations

import logging
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import evolve, frozen

from stepbus.errors import DataError, did_you_mean
from stepbus.readers import checked_frame, read_table
from stepbus.sections import DataConfig
from stepbus.tokens import IntArray

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

# A numeric column with more different values than this is a quantity, with fewer a set of classes.
FEW = 20


@frozen(eq=False)
class Rows:
    """A named set of rows.

    Args:
        frame: The columns, as read.
        ids: What names each row in predictions, [N].
        source: The file, or what stands for it in messages.
        name: What the set is for: train, validation, test.
        numbers: Where each row stands in the source, from 1: a line of a text file, else a row; int64 [N].
        in_lines: Whether `numbers` are lines.
    """

    frame: pd.DataFrame
    ids: np.ndarray[tuple[int, ...], np.dtype[Any]]
    source: str
    name: str
    numbers: IntArray
    in_lines: bool = False

    def __len__(self) -> int:
        return len(self.frame)

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
        hint = "; fields must be separated by commas" if len(known) == 1 and ";" in known[0] else ""
        raise DataError(
            f"{self.source}: {setting}: expected a column {name!r}{did_you_mean(name, known)}, "
            f"got {', '.join(known[:20])}{', …' if len(known) > 20 else ''}{hint}"
        )

    def missing(self, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Return where a column that is there has no value: None, NaN, or nothing but blanks, bool [N]."""
        values = self.frame[name]
        absent = values.isna().to_numpy(dtype=bool)
        if values.dtype == object or str(values.dtype) in ("str", "string", "category"):
            absent = absent | np.array([isinstance(value, str) and not value.strip() for value in values], dtype=bool)
        return absent

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
            name=self.name if name is None else name,
        )


def read_rows(source: str | Path | pd.DataFrame | Rows, *, name: str, config: DataConfig) -> Rows:
    """Read a set of rows.

    Args:
        source: A .csv, .tsv, .jsonl or .parquet file, `sklearn:NAME`, a pandas frame, or rows (returned as they are).
        name: What the set is for: train, validation, test.
        config: The data section; `id` and `encoding` are used.

    Returns:
        The rows, at least one.

    Raises:
        DataError: It cannot be read, has no rows, or its ids are missing or not unique.
    """
    if isinstance(source, Rows):
        return source
    lines: IntArray | None = None
    if isinstance(source, str | Path):
        label = str(source)
        frame, lines = read_table(label, config.encoding)
    else:
        label, frame = f"{name} frame", source
    frame = checked_frame(frame, label)
    positions = np.arange(len(frame), dtype=np.int64)
    rows = Rows(frame, positions, label, name, positions + 1 if lines is None else lines, lines is not None)
    return rows if config.id is None else evolve(rows, ids=_ids(rows, config.id))


def _ids(rows: Rows, column: str) -> np.ndarray[tuple[int, ...], np.dtype[Any]]:
    values = rows.column(column, "data.id")
    empty = np.flatnonzero(rows.missing(column))
    if len(empty):
        raise rows.error(int(empty[0]), column, "expected an id, got an empty field")
    repeated = np.flatnonzero(values.duplicated().to_numpy())
    if len(repeated):
        value = values.iloc[repeated[0]]
        first = int(np.flatnonzero((values == value).to_numpy())[0])
        raise rows.error(
            int(repeated[0]),
            column,
            f"expected ids that differ, got {shown(value)} again (first at {rows.where(first)})",
        )
    return values.to_numpy()


def shown(value: Any) -> str:
    """Return a value as messages show it: text in quotes, a number without its NumPy type."""
    return repr(value) if isinstance(value, str) else str(value)


def label_values(rows: Rows, label: str | list[str] | None) -> np.ndarray[Any, Any]:
    """Return the labels as they are written, [N] or, of several columns, [N, K].

    Raises:
        DataError: No label is named, or there is no such column.
    """
    if label is None:
        raise DataError("data.label: expected the column to predict, got none")
    for column in [label] if isinstance(label, str) else label:
        rows.column(column, "data.label")
    return rows.frame[label].to_numpy()


def split_rows(
    rows: Rows,
    fraction: float,
    *,
    seed: int,
    stratify_by: Sequence[Hashable] | np.ndarray[Any, Any] | None = None,
    groups: Sequence[Hashable] | np.ndarray[Any, Any] | None = None,
) -> tuple[Rows, Rows]:
    """Set a fraction of the rows aside for validation: the same ones for the same seed.

    Args:
        rows: All rows.
        fraction: Share to set aside, between 0 and 1; with groups it is met as nearly as whole groups allow.
        seed: Seed of the split.
        stratify_by: Value of each row whose shares stay the same on both sides, [N] or [N, K]; numbers with more than
            20 different values are taken by their tenths. A value's only row stays in training, and the log says so.
        groups: Value of each row whose rows stay on one side, [N].

    Returns:
        Training and validation rows, each in the order of the source.

    Raises:
        DataError: A side would be empty.
    """
    import pandas as pd
    from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold, train_test_split

    number = len(rows)
    everything = np.arange(number)
    classes = None if stratify_by is None else _classes(stratify_by)
    if groups is not None:
        keys = pd.factorize(pd.Series(list(groups), dtype=object), use_na_sentinel=False)[0]
        if len(set(keys)) < 2:
            raise DataError(f"{rows.source}: data.group: expected at least two groups to split, got one")
        if classes is None:
            splitter = GroupShuffleSplit(n_splits=1, test_size=fraction, random_state=seed)
            kept, aside = next(splitter.split(everything, groups=keys))
        else:
            folds = min(max(2, round(1 / fraction)), len(set(keys)))
            # A fold of a share above one half is the rest of a fold of the other share.
            folds = folds if fraction <= 0.5 else min(max(2, round(1 / (1 - fraction))), len(set(keys)))
            stratified = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
            kept, aside = _first_fold(stratified, everything, classes, keys, rows.source)
            kept, aside = (kept, aside) if fraction <= 0.5 else (aside, kept)
    else:
        alone = np.zeros(number, dtype=bool)
        if classes is not None:
            alone = np.bincount(classes)[classes] == 1
            if alone.any():
                places = ", ".join(rows.where(int(index)) for index in np.flatnonzero(alone)[:5])
                log.warning("%d class(es) have a single row, which stays in training: %s", int(alone.sum()), places)
            classes = classes[~alone]
            few = len(set(classes.tolist()))
            if not 0 < few <= min(round((number - alone.sum()) * fraction), (number - alone.sum()) * (1 - fraction)):
                raise DataError(
                    f"{rows.source}: data.stratify: expected at least one row of each of {few} classes on both sides, "
                    f"got {number} rows to split at {fraction:g}; set data.stratify: false or another fraction"
                )
        if not 0 < round(number * fraction) < number:
            raise DataError(
                f"{rows.source}: data.validation: expected rows on both sides of the split, got {number} rows to split "
                f"at {fraction:g}"
            )
        kept, aside = train_test_split(
            everything[~alone], test_size=fraction, random_state=seed, shuffle=True, stratify=classes
        )
        kept = np.concatenate([kept, everything[alone]])
    return rows.take(np.sort(kept), "train"), rows.take(np.sort(aside), "validation")


def _classes(values: Sequence[Hashable] | np.ndarray[Any, Any]) -> IntArray:
    """Return a class number for each row, int64 [N]: a quantity by its tenths, several labels by their combination."""
    import pandas as pd

    array = np.asarray(values)
    if array.ndim == 1 and array.dtype.kind in "iuf" and len(np.unique(array[~np.isnan(array)])) > FEW:
        # Tenths by rank; missing values are a class of their own.
        ranks = pd.Series(array).rank(method="average").to_numpy()
        return np.where(np.isnan(ranks), 10, (np.nan_to_num(ranks) - 1) * 10 // np.sum(~np.isnan(ranks))).astype(
            np.int64
        )
    keys = [tuple(row) for row in array] if array.ndim == 2 else list(values)
    series = pd.Series(pd.Index(keys, tupleize_cols=False), dtype=object)
    return pd.factorize(series, use_na_sentinel=False)[0].astype(np.int64)


def _first_fold(splitter: Any, everything: IntArray, classes: IntArray, keys: IntArray, source: str) -> Any:
    """Split without scikit-learn's warning that a class has fewer rows than there are folds: whole groups go first."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class", category=UserWarning)
        try:
            return next(splitter.split(everything, classes, keys))
        except ValueError as error:
            raise DataError(
                f"{source}: data.stratify with data.group: expected classes that can be split, {error}"
            ) from None
