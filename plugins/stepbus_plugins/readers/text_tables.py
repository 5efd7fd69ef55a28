"""CSV and TSV files as data frames of text: every cell as it is written, every row with its line.

pandas' own CSV reader is not used: it turns the word "NA" into a missing value in columns of words, fills short rows
up in silence, and cannot say on which line a row stands.
"""

from __future__ import annotations

import csv
import io
import re
import sys
from typing import Any

from stepbus import DataError, Source, Table

Record = tuple[int, list[str]]
WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "blanks"}


def words_of(separator: str) -> str:
    """Return what a separator is called in messages."""
    return WORDS.get(separator, repr(separator))


class TextTables:
    """Reads a table whose rows are lines.

    Args:
        config: Nothing.
    """

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self, source: Source) -> Table:
        """Return the rows, all of text, None for empty cells, with the line of each.

        With tabs, quotes are characters like any other. Where the separator that was asked for makes no table and
        another does, that is taken and said.

        Raises:
            DataError: It is no table.
        """
        return _table(source, source.text(), "\t" if source.suffix == ".tsv" else ",")


def _table(source: Source, text: str, usual: str) -> Table:
    written = re.match(r"sep=(.)(?=\r\n|\n|\r)", text, re.IGNORECASE)  # as Excel reads it
    usual = source.separator or (written[1] if written else usual)
    above = 1 if written else 0
    records: list[Record] = []
    problem: DataError | None = None
    try:
        records = _split(source, text, usual, above)
        if len(records[0][1]) > 1:
            return _rows(source, records, usual)
    except DataError as error:
        problem = error
    for other in (mark for mark in ",;\t|" if mark != usual and mark in text):
        try:
            table = _rows(source, _split(source, text, other, above), other)
        except DataError:
            continue
        if len(table.rows) > 1:
            found, expected = words_of(other), words_of(usual)
            given = "tab" if other == "\t" else repr(other)
            source.say(
                f"read with {found} between the fields, where {expected} were expected; "
                f"set data.separator: {given}, or what it is"
            )
            return table
    if problem is not None:
        raise problem
    return _rows(source, records, usual)


def _split(source: Source, text: str, separator: str, above: int) -> list[Record]:
    """Return the fields of each line that is there, the header first; so many lines stand above it."""
    records = (_by_tabs(text) if separator == "\t" else _by_quotes(source, text, separator))[above:]
    while records and not any(records[-1][1]):
        records.pop()
    if not records:
        raise DataError(f"{source}: expected a header and rows, got an empty file")
    if not records[0][1]:
        raise DataError(f"{source}:1: expected a header with the names of the columns, got an empty line")
    return records


def _by_quotes(source: Source, text: str, separator: str) -> list[Record]:
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


def _rows(source: Source, records: list[Record], separator: str) -> Table:
    import pandas as pd

    (_, header), *body = records
    # The name that pandas gives to a column without one, such as a saved index.
    header = [name or f"Unnamed: {position}" for position, name in enumerate(header)]
    source.check_names(header)
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
    return Table(cells, [line for line, _ in body])
