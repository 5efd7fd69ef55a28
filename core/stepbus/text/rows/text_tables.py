"""CSV and TSV files as data frames of text: every cell as it is written, every row with its line.

pandas' own CSV reader is not used: it turns the word "NA" into a missing value in columns of words, fills short rows
up in silence, and cannot say on which line a row stands.
"""

from __future__ import annotations

import csv
import io
import logging
import re
import sys
from typing import TYPE_CHECKING

import numpy as np

from stepbus.base import DataError, IntArray
from stepbus.text.rows.frames import no_duplicates

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

Record = tuple[int, list[str]]
WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}


def words_of(separator: str) -> str:
    """Return what a separator is called in messages."""
    return WORDS.get(separator, repr(separator))


def read_text_table(source: str, text: str, usual: str, separator: str | None) -> tuple[pd.DataFrame, IntArray]:
    """Read a table whose rows are lines.

    Args:
        source: The file, for messages.
        text: Its content.
        usual: The separator that its ending stands for; with tabs, quotes are characters like any other.
        separator: The one that was asked for, in place of the usual one. Where it makes no table and another does, that
            is taken and said.

    Returns:
        The frame, all of text, None for empty cells; and the line of each row.

    Raises:
        DataError: It is no table.
    """
    written = re.match(r"sep=(.)(?=\r\n|\n|\r)", text, re.IGNORECASE)  # as Excel reads it
    usual = separator or (written[1] if written else usual)
    above = 1 if written else 0
    records: list[Record] = []
    problem: DataError | None = None
    try:
        records = _split(source, text, usual, above)
        if len(records[0][1]) > 1:
            return _frame(source, records, usual)
    except DataError as error:
        problem = error
    for other in (mark for mark in ",;\t|" if mark != usual and mark in text):
        try:
            frame, lines = _frame(source, _split(source, text, other, above), other)
        except DataError:
            continue
        if len(frame.columns) > 1:
            log.warning(
                "%s: read with %s between the fields, where %s were expected; set data.separator: %s, or what it is",
                source,
                words_of(other),
                words_of(usual),
                "tab" if other == "\t" else repr(other),
            )
            return frame, lines
    if problem is not None:
        raise problem
    return _frame(source, records, usual)


def _split(source: str, text: str, separator: str, above: int) -> list[Record]:
    """Return the fields of each line that is there, the header first; so many lines stand above it."""
    records = (_by_tabs(text) if separator == "\t" else _by_quotes(source, text, separator))[above:]
    while records and not any(records[-1][1]):
        records.pop()
    if not records:
        raise DataError(f"{source}: expected a header and rows, got an empty file")
    if not records[0][1]:
        raise DataError(f"{source}:1: expected a header with the names of the columns, got an empty line")
    return records


def _by_quotes(source: str, text: str, separator: str) -> list[Record]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    records: list[Record] = []
    # The limit is the module's own and 128 KiB: a document in a field may be longer.
    limit = csv.field_size_limit(sys.maxsize)
    line = 1
    try:
        for fields in reader:
            records.append((line, fields))
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{source}:{line}: expected fields with {words_of(separator)} between them and quotes around those that "
            f'hold {words_of(separator)}, quotes (doubled: "") or line breaks, got a row that breaks this ({error})'
        ) from None
    finally:
        csv.field_size_limit(limit)
    return records


def _by_tabs(text: str) -> list[Record]:
    def unquoted(field: str) -> str:
        # A quote is a character like any other, unless it was clearly put there by a writer of quoted fields.
        inner = field[1:-1]
        if len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner.replace('""', ""):
            return inner.replace('""', '"')
        return field

    lines = re.split(r"\r\n|\n|\r", text)
    rows = [(number, [unquoted(part) for part in line.split("\t")]) for number, line in enumerate(lines, start=1)]
    return [(number, [] if row == [""] else row) for number, row in rows]


def _frame(source: str, records: list[Record], separator: str) -> tuple[pd.DataFrame, IntArray]:
    import pandas as pd

    (_, header), *body = records
    # The name that pandas gives to a column without one, such as a saved index.
    header = [name or f"Unnamed: {position}" for position, name in enumerate(header)]
    no_duplicates(source, header)
    # An empty line is nothing, unless there is but one column, where it is a row with an empty value.
    body = [(line, row or [""]) for line, row in body if row or len(header) == 1]
    for line, row in body:
        if len(row) != len(header):
            fields = f"{len(header)} field{'s' * (len(header) != 1)} separated by {words_of(separator)}"
            hint = f"; a field with {words_of(separator)} in it stands in quotes" if len(row) > len(header) else ""
            if hint and separator == "\t":
                hint = "; between tabs quotes are letters like any other: a field with a tab in it needs a .csv"
            raise DataError(f"{source}:{line}: expected {fields}, as in the header, got {len(row)}{hint}")
    if not body:
        raise DataError(f"{source}: expected rows after the header, got none")
    columns = zip(*(row for _, row in body), strict=True)
    # Text of Python in columns of objects: nothing is inferred from what stands in them.
    cells = {
        name: pd.Series([value or None for value in values], dtype=object)
        for name, values in zip(header, columns, strict=True)
    }
    return pd.DataFrame(cells), np.array([line for line, _ in body], dtype=np.int64)
