"""Row ids on disk: numbers and dates as NumPy keeps them, words and objects as text that gives them back, no pickle."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from stepbus.base import DataError

if TYPE_CHECKING:
    from stepbus.text.rows.table import Rows

Ids: TypeAlias = np.ndarray[Any, np.dtype[Any]]

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


def first_odd(ids: Ids) -> int | None:
    """Return the position of the first id that cannot be kept on disk, or None."""
    if ids.dtype.kind in PLAIN:
        return None
    if ids.dtype != object or ids.ndim != 1:
        return 0
    odd = {kind for kind in set(map(type, ids)) if _name(kind) not in TEXTS}
    return next(place for place, value in enumerate(ids) if type(value) in odd) if odd else None


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
        raise rows.error(place, column or "row", f"expected {EXPECTED} as id, got {value!r}{_of_type(value)}; {MEND}")


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
    if place is None:
        kinds = sorted({_name(type(value)) for value in ids})
        try:
            document = {
                "kinds": kinds,
                "which": [kinds.index(_name(type(value))) for value in ids],
                "texts": [TEXTS[_name(type(value))][0](value) for value in ids],
            }
            written = np.frombuffer(json.dumps(document).encode("ascii"), np.uint8)
            back = from_array("text", written)
            place = next((at for at, pair in enumerate(zip(ids, back, strict=True)) if not _equal(*pair)), None)
        except (ValueError, ArithmeticError) as error:
            raise DataError(f"data.id: expected ids that can be kept as text ({error}); {MEND}") from error
        if place is None:
            return "text", written
    value = ids[place]
    raise DataError(f"data.id: expected {EXPECTED}, got {value!r}{_of_type(value)}; {MEND}")


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


def _of_type(value: Any) -> str:
    return f" of type {type(value).__qualname__}"


def _equal(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other) and str(one) == str(other)


def _timestamp(text: str) -> Any:
    import pandas as pd

    return pd.Timestamp(text)
