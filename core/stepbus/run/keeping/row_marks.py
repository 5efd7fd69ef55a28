"""A number for each row that stands for its content, to say later which row is another one."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]
_PRIME = np.uint64(0x9E3779B97F4A7C15)
_GAP = np.uint64(0x5851F42D4C957F2D)


def row_marks(rows: Any) -> Array:
    """Return a digest of the cells, the id, the weight and the soft labels of each row, uint64 [N].

    The columns count by their names, in whatever order they stand. Two kinds of file may spell a cell alike and type it
    otherwise, so marks that differ are a reason to look closer, and equal ones that nothing did.

    Args:
        rows: The rows.
    """
    columns = {f"cell {name}": _of_column(rows.frame[name]) for name in rows.frame.columns}
    columns["id"] = _of_words([str(each) for each in rows.ids.tolist()])
    for name in ("weights", "soft"):
        if (numbers := getattr(rows, name)) is not None:
            each = np.ascontiguousarray(numbers, dtype=np.float64).reshape(len(rows), -1)
            columns |= {f"{name} {place}": each[:, place].view(np.uint64) for place in range(each.shape[1])}
    marks = np.zeros(len(rows), dtype=np.uint64)
    for name in sorted(columns):
        salt = np.uint64(int.from_bytes(hashlib.sha256(name.encode("utf-8", "backslashreplace")).digest()[:8], "big"))
        marks = _mixed(marks ^ _mixed(columns[name] ^ salt))
    return marks


def content_of(marks: Array) -> str:
    """Return one digest of the marks of rows, in their order."""
    return hashlib.sha256(np.ascontiguousarray(marks, dtype="<u8").tobytes()).hexdigest()


def _of_column(values: pd.Series[Any]) -> Array:
    import pandas as pd

    gaps: Array = values.isna().to_numpy(dtype=bool)
    if pd.api.types.is_numeric_dtype(values) or pd.api.types.is_datetime64_any_dtype(values):
        hashed = pd.util.hash_pandas_object(values, index=False, categorize=False)
        found: Array = hashed.to_numpy(dtype=np.uint64, copy=True)
    else:  # text is one thing, however pandas holds it
        cells = zip(values.tolist(), gaps.tolist(), strict=True)
        found = _of_words(["" if gap else cell if type(cell) is str else repr(cell) for cell, gap in cells])
    marks: Array = np.bitwise_xor(found, gaps.astype(np.uint64) * _GAP)
    return marks


def _of_words(words: list[str]) -> Array:
    import pandas as pd

    try:
        found: Array = pd.util.hash_array(np.array(words, dtype=object), categorize=False)
    except UnicodeEncodeError:  # half a character
        safe = [word.encode("utf-8", "backslashreplace").decode() for word in words]
        found = pd.util.hash_array(np.array(safe, dtype=object), categorize=False)
    return found


def _mixed(numbers: Array) -> Array:
    """Return numbers whose bits are spread, by the finaliser of SplitMix64."""
    with np.errstate(over="ignore"):
        found: Array = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        found = (found ^ (found >> np.uint64(27))) * _PRIME
        found ^= found >> np.uint64(31)
    return found
