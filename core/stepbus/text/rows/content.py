"""What a whole source holds, as a short digest: the same rows have the same one, whatever file or frame they are in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.text.rows.cells import FALSE, GAPS, MOST_DIGITS, TRUE, NotOneValue, as_number, spelling, spellings

if TYPE_CHECKING:
    import pandas as pd

# How a number, a gap or a word for infinity may begin, blanks aside; no other cell is looked at more closely.
_BEGINNINGS = frozenset("0123456789+-.iInN<# \t")
_WORDS = {**dict.fromkeys(TRUE, "True"), **dict.fromkeys(FALSE, "False")}


def content_key(frame: pd.DataFrame) -> str:
    """Return 16 hexadecimal digits that stand for all columns and rows of a source.

    A column is its name and its cells; in what order the columns stand makes no difference, nor how a value is written:
    7, 7.0 and 007 are one number, and what pandas reads as missing is a gap. So a file and the frame that
    `pandas.read_csv` makes of it have one key.

    Args:
        frame: All rows of the source, with columns of different names.
    """
    columns = sorted((str(name), _column_digest(frame[name])) for name in frame.columns)
    whole = hashlib.sha256(str(len(frame)).encode())
    for name, digest in columns:
        whole.update(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest() + digest)
    return whole.hexdigest()[:16]


def _column_digest(values: pd.Series[Any]) -> bytes:
    try:
        cells: Iterable[str | None] = spellings(values)
    except NotOneValue:  # a list in a cell is no fault where nobody reads its column
        cells = [_anything(value) for value in values]
    plain = [None if cell is None else _plain(cell) for cell in cells]
    # The lengths keep apart what the joined text would not: "a", "bc" and "ab", "c"; -1 is a gap.
    lengths = np.array([-1 if cell is None else len(cell) for cell in plain], dtype="<i8")
    text = "".join(cell for cell in plain if cell is not None)
    return hashlib.sha256(lengths.tobytes() + text.encode("utf-8", "surrogatepass")).digest()


def _anything(value: Any) -> str | None:
    try:
        return spelling(value)
    except NotOneValue:
        return repr(value.tolist() if hasattr(value, "tolist") else value)


def _plain(cell: str) -> str | None:
    """Return a cell as the digest sees it."""
    if cell[0] not in _BEGINNINGS:
        return _WORDS.get(cell, cell)
    word = cell.strip()
    if word in GAPS:
        return None
    if word.lstrip("-").isdecimal() and len(word) > MOST_DIGITS:
        return word  # a float would not tell two of these apart
    number = as_number(word)
    # pandas' reader is off in the last digit, now and then.
    return cell if number is None or number != number else f"{number:.12g}"
