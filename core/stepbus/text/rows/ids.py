"""Row ids on disk: numbers and dates as NumPy keeps them, words and objects as text that gives them back, no pickle."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from stepbus.base import DataError

if TYPE_CHECKING:
    import pandas as pd

Ids: TypeAlias = np.ndarray[Any, np.dtype[Any]]


class Rows(Protocol):
    """Rows as far as their ids need them."""

    @property
    def ids(self) -> Ids: ...
    @property
    def frame(self) -> pd.DataFrame: ...
    def where(self, index: int) -> str: ...
    def error(self, index: int, column: str, problem: str) -> DataError: ...
    def present(self, name: str, setting: str, what: str) -> list[str]: ...


# What NumPy writes without a pickle and reads back as it was.
PLAIN = "biufmMU"
# Type of an object -> how it becomes text, and how it comes back.
TEXTS: dict[str, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    "builtins.str": (str, str),
    "builtins.int": (str, int),
    "builtins.float": (float.hex, float.fromhex),
    "builtins.bool": (str, {"True": True, "False": False}.__getitem__),
    "builtins.bytes": (bytes.hex, bytes.fromhex),
    "datetime.date": (datetime.date.isoformat, datetime.date.fromisoformat),
    "datetime.time": (datetime.time.isoformat, datetime.time.fromisoformat),
    "datetime.datetime": (datetime.datetime.isoformat, datetime.datetime.fromisoformat),
    "decimal.Decimal": (str, decimal.Decimal),
    "uuid.UUID": (str, uuid.UUID),
    "pandas.Timestamp": (lambda value: str(value.isoformat()), lambda text: _timestamp(text)),
}
EXPECTED = "text, a number, a date, a time, bytes or a UUID"
MEND = "write the ids as text"


def id_column(rows: Rows, column: str) -> Ids:
    """Return the ids that stand in a column, as they are spelt; integers stay what they are, [N].

    Args:
        rows: The rows.
        column: The column.

    Raises:
        DataError: There is no such column, or an id is missing or comes again.
    """
    cells = rows.present(column, "data.id", "an id")
    if len(repeated := [cell for cell, count in Counter(cells).items() if count > 1]):
        first = cells.index(repeated[0])
        more = f"; {len(repeated)} ids come more than once" if len(repeated) > 1 else ""
        raise rows.error(
            cells.index(repeated[0], first + 1),
            column,
            f"expected ids that differ, got {repeated[0]!r} again (first at {rows.where(first)}){more}",
        )
    # Whole numbers that have a type keep it, so that they join the caller's own.
    typed = rows.frame[column].tolist()
    if all(isinstance(value, int | np.integer) and not isinstance(value, bool) for value in typed):
        whole = np.array([int(value) for value in typed])
        # Beyond 64 bits NumPy may take them for floats, and two ids for one.
        return whole if whole.dtype.kind in "iu" else np.array([int(value) for value in typed], dtype=object)
    return np.array(cells, dtype=object)


def first_odd(ids: Ids) -> int | None:
    """Return the position of the first id that would not come back from the disk equal, or None."""
    if ids.dtype.kind in PLAIN:
        return None
    if ids.dtype != object or ids.ndim != 1:
        return 0
    kinds = set(map(type, ids))
    if kinds == {str}:
        values = ids.tolist()
        if json.loads(json.dumps(values)) == values:
            return None
    return next((place for place, value in enumerate(ids) if not _comes_back(value)), None)


def check(rows: Rows, column: str | None) -> None:
    """Refuse rows with an id that cannot be kept on disk, before any work is done for them.

    Args:
        rows: The rows.
        column: The column of their ids; None where they are numbered.

    Raises:
        DataError: There is such an id, and where.
    """
    if (place := first_odd(rows.ids)) is not None:
        value = rows.ids[place]
        raise rows.error(place, column or "row", f"expected {EXPECTED} as id, got {_shown(value)}; {MEND}")


def to_array(ids: Ids) -> tuple[str, Ids]:
    """Return row ids as an array that needs no pickle, and how it is written: plain or text.

    Args:
        ids: [N], as `Rows` has them.

    Raises:
        DataError: One of them would not come back equal.
    """
    if ids.dtype.kind in PLAIN:
        return "plain", ids
    place = first_odd(ids)
    if place is not None:
        value = ids[place]
        raise DataError(f"data.id: expected {EXPECTED}, got {_shown(value)}; {MEND}")
    kinds = sorted({_name(type(value)) for value in ids})
    document = {
        "kinds": kinds,
        "which": [kinds.index(_name(type(value))) for value in ids],
        "texts": [TEXTS[_name(type(value))][0](value) for value in ids],
    }
    return "text", np.frombuffer(json.dumps(document).encode("ascii"), np.uint8)


def from_array(kind: str, array: Ids) -> Ids:
    """Return the row ids that `to_array` wrote.

    Args:
        kind: How they were written.
        array: What was written.

    Raises:
        ValueError: It was something else.
        KeyError: It was something else.
    """
    if kind == "plain":
        return array
    document = json.loads(array.tobytes())
    back = [TEXTS[name][1] for name in document["kinds"]]
    ids = np.empty(len(document["texts"]), object)
    for place, (which, text) in enumerate(zip(document["which"], document["texts"], strict=True)):
        ids[place] = back[which](text)
    return ids


def _name(kind: type) -> str:
    # pandas 2 says where in it the class is written.
    module = "pandas" if kind.__module__.startswith("pandas.") else kind.__module__
    return f"{module}.{kind.__qualname__}"


def _shown(value: Any) -> str:
    try:
        words = repr(value)
    except ValueError:  # Python writes no whole number of thousands of digits
        words = "a number of thousands of digits"
    return f"{words if len(words) <= 100 else f'{words[:97]}…'} of type {type(value).__qualname__}"


def _comes_back(value: Any) -> bool:
    """Say whether an id would come back from the disk: of its type, equal, and written alike."""
    if _name(type(value)) not in TEXTS:
        return False
    to_text, back = TEXTS[_name(type(value))]
    try:
        other = back(json.loads(json.dumps(to_text(value))))
        # A moment in the hour that a zone's clock repeats equals none of another zone, whatever its time.
        same = value == other or (isinstance(value, datetime.datetime) and value.timestamp() == other.timestamp())
        return type(value) is type(other) and bool(same) and str(value) == str(other)
    except (ValueError, ArithmeticError):
        return False


def _timestamp(text: str) -> Any:
    import pandas as pd

    return pd.Timestamp(text)
