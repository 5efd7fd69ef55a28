r"""What a cell says, in one spelling whatever file it came from, and what the cells of a column are.

A cell of a text file is read as it is written. A value that already has a type (JSON, Parquet, a frame) gets the
spelling that a text file would have:

    a gap            nothing at all, or nothing but blanks: None, NaN, NaT, NA, an empty field
    text             as it is written, blanks and zeros in front included: 007, +5, 1E1, 3.10, NA
    a boolean        True, False
    an integer       its digits: 12
    a float          whole ones below 1e15 as integers (12.0 is 12), others as short as they read back: 0.1, 1e-05
    a Decimal        its digits, zeros at the end included: 12.50
    a date           2024-01-05, as is a time stamp at midnight without a time zone
    a time stamp     2024-01-05 10:30:00, with the offset where it has a time zone: 2024-01-05 10:30:00+01:00
    anything else    its text (a period, an interval, a UUID); what holds several values is refused

Texts, ids and groups are these spellings. The columns of a table and class labels have a kind besides, learnt from the
training rows once:

    boolean          all are true and false, in small letters, capitals or with a capital in front
    number           all are plain numbers and none is a code. Plain are 12, -0, 0.5, .5, 5., 1e-05, 1.5E10, inf, with
                     blanks around or without; no number are +5, 007, 1_000, 1,5, 0x10, digits of other scripts, and an
                     exponent without sign and point (1E1, 1e5). A code are whole numbers of more than 15 digits, and
                     decimals with a zero at the end beside others with fewer places (3.10 beside 3.9)
    words            all others; time stamps in any ISO form among them have the spelling above

In a column of numbers NA and its like (`GAPS`) are gaps; in other columns they are words. Where a kind is known, a cell
of any file is read by it, whatever stands beside it there.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["number", "boolean", "words"]

# How a missing number is written, besides an empty field: what pandas reads as missing.
GAPS = frozenset(
    {"NA", "N/A", "n/a", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>", "NaT"}
    | {"#N/A", "#NA", "#N/A N/A", "-1.#IND", "1.#IND", "-1.#QNAN", "1.#QNAN"}
)
TRUE = frozenset({"True", "true", "TRUE"})
FALSE = frozenset({"False", "false", "FALSE"})
# What means yes and no where all of a column is one of them.
YES = TRUE | {"1", "1.0"}
NO = FALSE | {"0", "0.0"}
INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
WHOLE = re.compile(r"-?(0|[1-9][0-9]*)(\.0*)?")
PLAIN = re.compile(r"-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)")
# Every program that writes an exponent writes its sign, or a point before it; codes such as 1E1 have neither.
EXPONENT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*[eE][+-]?[0-9]+|[eE][+-][0-9]+)")
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
TIME_STAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
)
# The whole numbers that a float holds exactly, and a few more digits than any count has.
MOST_DIGITS = 15


class NotOneValue(ValueError):
    """A cell holds no single value.

    Args:
        index: Its row.
        value: What it holds.
    """

    def __init__(self, index: int, value: Any) -> None:
        super().__init__(index, value)
        self.index, self.value = index, value


def spelling(value: Any) -> str | None:
    """Return the spelling of a value, or None for a gap.

    Raises:
        NotOneValue: It is a list, a mapping, bytes or another thing that is no single value.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return str(value) if value.strip() else None
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, int | np.integer) and not isinstance(value, np.timedelta64):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return _float(value)
    return _other(value)


def _float(value: float | np.floating[Any]) -> str | None:
    number = float(value)
    if number != number:
        return None
    if abs(number) < 1e15 and number.is_integer():
        return str(int(number))
    # A single-precision number is as short as single precision needs it.
    return str(value) if isinstance(value, np.float32 | np.float16) else repr(number)


def _other(value: Any) -> str | None:
    import pandas as pd

    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, Decimal):
        return None if value.is_nan() else format(value, "f")
    try:
        if isinstance(value, datetime.datetime | np.datetime64):
            return time_stamp(pd.Timestamp(value))
        if isinstance(value, datetime.timedelta | np.timedelta64):
            return None if pd.isna(value) else str(pd.Timedelta(value))
    except (ValueError, OverflowError, NotImplementedError):  # beyond what pandas counts
        return str(value)
    # What has no text of its own is printed with its address.
    own = {name for cls in type(value).__mro__[:-1] for name in vars(cls)}
    if (
        not own & {"__str__", "__repr__"}
        or isinstance(value, bytes | bytearray | memoryview)
        or hasattr(value, "__iter__")
    ):
        raise NotOneValue(0, value)
    text = str(value)
    return text if text.strip() else None


def time_stamp(value: pd.Timestamp) -> str | None:
    """Return a point of time as it is spelt: without a time zone, midnight is the date."""
    if value != value:
        return None
    parts = (value.hour, value.minute, value.second, value.microsecond, value.nanosecond)
    midnight = value.tzinfo is None and not any(parts)
    return str(value.date()) if midnight else str(value)


def spellings(values: pd.Series[Any]) -> list[str | None]:
    """Return the spelling of every value of a column, None for gaps, [N].

    Raises:
        NotOneValue: A cell holds no single value.
    """
    # Iterating over a column of single precision gives doubles.
    single = isinstance(values.dtype, np.dtype) and values.dtype.kind == "f" and values.dtype.itemsize < 8
    found = []
    for index, value in enumerate(values.to_numpy() if single else values):
        try:
            found.append(spelling(value))
        except NotOneValue:
            raise NotOneValue(index, value) from None
    return found


def is_number(text: str) -> bool:
    """Say whether a spelling is a plain number."""
    text = text.strip()
    return any(form.fullmatch(text) for form in (PLAIN, EXPONENT, INFINITE))


def are_codes(words: Collection[str]) -> bool:
    """Say whether plain numbers are codes: too long for a number, or with zeros at the end as versions have them."""
    if any(len(word.lstrip("-")) > MOST_DIGITS for word in words if INTEGER.fullmatch(word)):
        return True
    places = {len(word.partition(".")[2]) for word in words if PLAIN.fullmatch(word)} - {0}
    return len(places) > 1 and any(map(ends_in_zero, words))


def ends_in_zero(word: str) -> bool:
    """Say whether a decimal has zeros at its end; the one of a whole float (12.0) does not count."""
    fraction = word.partition(".")[2] if PLAIN.fullmatch(word) else ""
    return fraction.endswith("0") and fraction != "0"


def kind_of(cells: Iterable[str | None]) -> Kind:
    """Return what the cells of a column are, by their spellings."""
    words = {cell.strip() for cell in cells if cell is not None}
    if words and words <= TRUE | FALSE:
        return "boolean"
    words -= GAPS
    return "number" if words and all(map(is_number, words)) and not are_codes(words) else "words"


def odd_ones(cells: Sequence[str | None]) -> list[int]:
    """Return where the few cells stand that keep a column from being one of numbers; none where they are many."""
    known = [index for index, cell in enumerate(cells) if cell is not None and not _gap(cell)]
    odd = [index for index in known if not is_number(str(cells[index]))]
    return odd if 10 * len(odd) <= len(known) else []


def why_words(cells: Sequence[str | None], where: Callable[[int], str]) -> str:
    """Return why a column that nearly is one of numbers is read as words, to be said; nothing where it is none.

    Args:
        cells: The cells of a column of words.
        where: Says where a cell stands.
    """
    words = {cell.strip() for cell in cells if cell is not None} - GAPS
    if odd := odd_ones(cells):
        more = f", and {len(odd) - 1} more" if len(odd) > 1 else ""
        return f", because of {cells[odd[0]]!r} ({where(odd[0])}{more})"
    if words and all(map(is_number, words)):
        return ": they are written as codes or versions are"
    if any("," in word for word in words) and all(re.fullmatch(r"-?[0-9.]+(,[0-9]+)?", word) for word in words):
        return ": write decimals with a point"
    return ""


def half_a_character(cells: Sequence[str | None]) -> int | None:
    """Return where a cell has half a surrogate pair, which no file can hold: text was cut or decoded wrongly there."""
    try:
        "".join(cell for cell in cells if cell is not None).encode("utf-8")
    except UnicodeEncodeError:
        halves = [index for index, cell in enumerate(cells) if cell and re.search("[\ud800-\udfff]", cell)]
        return halves[0] if halves else None
    return None


def _gap(cell: str) -> bool:
    return cell.strip() in GAPS


def as_number(cell: str | None) -> float | None:
    """Return the number that a cell of a column of numbers holds: NaN for a gap, None where it is no number.

    Here 007 and +5 are numbers as well, because the column is known to hold numbers.
    """
    if cell is None or _gap(cell):
        return float("nan")
    if "_" in cell or not cell.isascii():
        return None
    try:
        return float(cell) + 0.0  # no number below zero is called -0
    except ValueError:
        return None


def one_time(text: str) -> str:
    """Return a text as it is, or, where it is a time stamp, in the one spelling of time stamps."""
    if not TIME_STAMP.fullmatch(text):
        return text
    import pandas as pd

    try:
        return time_stamp(pd.Timestamp(text)) or text
    except ValueError:  # a thirteenth month
        return text
