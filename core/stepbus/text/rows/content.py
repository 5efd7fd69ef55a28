"""What a source and each row of it hold, as short digests: the same whatever file or frame the rows are in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.text.rows.cells import FALSE, GAPS, MOST_DIGITS, TRUE, NotOneValue, as_number, spelling, spellings

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]
# How a number, a gap or a word for infinity may begin, blanks aside; no other cell is looked at more closely.
_BEGINNINGS = frozenset("0123456789+-.iInN<# \t")
_WORDS = {**dict.fromkeys(TRUE, "True"), **dict.fromkeys(FALSE, "False")}


def content_keys(frame: pd.DataFrame) -> tuple[str, Array]:
    """Return 16 hexadecimal digits that stand for all columns and rows of a source, and a number for each row.

    A column is its name and its cells; in what order the columns stand makes no difference, nor how a value is written:
    7, 7.0 and 007 are one number, and what pandas reads as missing is a gap. So a file and the frame that
    `pandas.read_csv` makes of it have one key. A row has its number in each source that has it and the same columns.

    Args:
        frame: All rows of the source, with columns of different names.

    Returns:
        The key of the whole, and uint64 [N].
    """
    columns, numbers = [], np.zeros(len(frame), dtype=np.uint64)
    for name in frame.columns:
        named = hashlib.sha256(str(name).encode("utf-8", "surrogatepass")).digest()
        digest, cells = _column_digests(frame[name])
        columns.append((str(name), named + digest))
        # A sum, so that the order of columns makes no difference; mixed, so that no two cells make up for each other.
        numbers += _mixed(cells ^ np.frombuffer(named[:8], dtype="<u8").astype(np.uint64))
    whole = hashlib.sha256(str(len(frame)).encode())
    for _, digest in sorted(columns):
        whole.update(digest)
    return whole.hexdigest()[:16], numbers


def kept_keys(frame: pd.DataFrame, known: dict[Any, Any]) -> tuple[str, Array]:
    """Return `content_keys`, found once: they are kept in what is known of a source."""
    kept = ("content",)  # no name of a column
    if kept not in known:
        known[kept] = content_keys(frame)
    key, numbers = known[kept]
    return key, numbers


def _column_digests(values: pd.Series[Any]) -> tuple[bytes, Array]:
    """Return a digest of the cells of a column together, and a number for each, uint64 [N]."""
    import pandas as pd

    try:
        cells: Iterable[str | None] = spellings(values)
    except NotOneValue:  # a list in a cell is no fault where nobody reads its column
        cells = [_anything(value) for value in values]
    plain = [None if cell is None else _plain(cell) for cell in cells]
    # The lengths keep apart what the joined text would not: "a", "bc" and "ab", "c"; -1 is a gap.
    lengths = np.array([-1 if cell is None else len(cell) for cell in plain], dtype="<i8")
    text = "".join(cell for cell in plain if cell is not None)
    digest = hashlib.sha256(lengths.tobytes() + text.encode("utf-8", "surrogatepass")).digest()
    # No cell is empty, so an empty text is a gap; bytes, because a text may hold half a character.
    words = np.array([(cell or "").encode("utf-8", "surrogatepass") for cell in plain] + [None], dtype=object)[:-1]
    return digest, pd.util.hash_array(words, categorize=False)


def _mixed(numbers: Array) -> Array:
    """Return numbers whose bits are spread, by the finaliser of SplitMix64."""
    found = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(found ^ (found >> np.uint64(31)))


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
