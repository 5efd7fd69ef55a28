"""Files of rows as data frames, each value read as it is written, each row with the line it stands on.

pandas' own CSV reader is not used: it turns the word "NA" into a missing value in columns of words, fills short rows
up in silence, and cannot say on which line a row stands.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.errors import DataError, did_you_mean
from stepbus.paths import usable
from stepbus.reading import parse_json
from stepbus.tokens import IntArray

if TYPE_CHECKING:
    import pandas as pd

# How a missing number is written, besides an empty field. In a column of words these are words.
MISSING_NUMBERS = frozenset({"NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None"})
# Zeros in front ("007") and a plus sign are part of a code, so a column that has one is text.
INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?([iI]nf(inity)?)")
BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "wine")

Table = tuple["pd.DataFrame", IntArray | None]


def read_table(source: str, encoding: str) -> Table:
    """Read a file, or a table that ships with scikit-learn.

    A column all of whose values are numbers becomes one of numbers, where an empty field, "NA" and the like are
    missing; whole numbers stay whole. Every other column stays text, where only an empty field is missing.

    Args:
        source: Path of a .csv, .tsv, .jsonl or .parquet file, or `sklearn:NAME`.
        encoding: Character encoding of a text file.

    Returns:
        The frame, and the line of each row in the file (None where there are no lines).

    Raises:
        DataError: It cannot be read.
    """
    if source.startswith("sklearn:"):
        return _bundled(source), None
    path = usable(source, DataError)
    kinds: dict[str, Callable[[Path, str], Table]] = {
        ".csv": _csv,
        ".tsv": _tsv,
        ".jsonl": _jsonl,
        ".ndjson": _jsonl,
        ".parquet": _parquet,
    }
    if not path.is_file():
        raise DataError(f"{source}: expected a file, got {'a folder' if path.is_dir() else 'nothing'}{_nearby(path)}")
    kind = path.suffix.lower()
    if kind not in kinds:
        raise DataError(f"{source}: expected a file ending in {', '.join(kinds)}, got {kind or 'no ending'!r}")
    return kinds[kind](path, encoding)


def _nearby(path: Path) -> str:
    if not path.parent.is_dir():
        return f"; the folder {path.parent} does not exist"
    return did_you_mean(path.name, [other.name for other in path.parent.iterdir()])


def _bundled(source: str) -> pd.DataFrame:
    import pandas as pd
    from sklearn import datasets

    name = source.removeprefix("sklearn:")
    if name not in BUNDLED:
        raise DataError(f"{source}: expected one of {', '.join(BUNDLED)}, got {name!r}{did_you_mean(name, BUNDLED)}")
    # scikit-learn's diabetes is standardised unless told otherwise; a template wants years and mm Hg.
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(as_frame=True, **options)
    frame: pd.DataFrame = bunch.frame.copy()
    if name != "diabetes":
        words = np.asarray([str(word) for word in bunch.target_names], dtype=object)
        frame[bunch.target.name] = pd.Series(words[bunch.target.to_numpy()], dtype=object)
    return frame


def _text(path: Path, encoding: str) -> str:
    data = path.read_bytes()
    try:
        # A byte order mark is no part of the first column's name.
        return data.decode("utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding)
    except LookupError:
        raise DataError(f"data.encoding: expected the name of a character encoding, got {encoding!r}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        other = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252" if encoding != "cp1252" else "utf-8"
        raise DataError(
            f"{path}:{line}: expected text in {encoding}, got byte 0x{data[error.start]:02x} at position {error.start} "
            f"of the file; save the file in {encoding} or set data.encoding, perhaps to {other}"
        ) from None


def _csv(path: Path, encoding: str) -> Table:
    reader = csv.reader(io.StringIO(_text(path, encoding), newline=""), strict=True)

    def records() -> Iterator[tuple[int, list[str]]]:
        # The limit is the module's own and 128 KiB: a document in a field may be longer.
        limit = csv.field_size_limit(sys.maxsize)
        try:
            while True:
                line = reader.line_num + 1
                try:
                    yield line, next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    raise DataError(
                        f"{path}:{line}: expected fields with commas between them and quotes around those that hold "
                        f'commas, quotes (doubled: "") or line breaks, got a row that breaks this ({error})'
                    ) from None
        finally:
            csv.field_size_limit(limit)

    return _records(path, list(records()), "commas")


def _tsv(path: Path, encoding: str) -> Table:
    def unquoted(text: str) -> str:
        # A quote is a character like any other, unless it was clearly put there by a writer of quoted fields.
        inner = text[1:-1]
        if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in inner.replace('""', ""):
            return inner.replace('""', '"')
        return text

    lines = re.split(r"\r\n|\n|\r", _text(path, encoding))
    rows = [(number, [unquoted(part) for part in line.split("\t")]) for number, line in enumerate(lines, start=1)]
    return _records(path, [(number, [] if row == [""] else row) for number, row in rows], "tabs")


def _records(path: Path, records: list[tuple[int, list[str]]], separator: str) -> Table:
    import pandas as pd

    while records and not any(records[-1][1]):
        records.pop()
    if not records:
        raise DataError(f"{path}: expected a header and rows, got an empty file")
    (_, header), *body = records
    if not header:
        raise DataError(f"{path}:1: expected a header with the names of the columns, got an empty line")
    # The name that pandas gives to a column without one, such as a saved index.
    header = [name or f"Unnamed: {position}" for position, name in enumerate(header)]
    _no_duplicates(str(path), header)
    # An empty line is nothing, unless there is but one column, where it is a row with an empty value.
    body = [(line, row or [""]) for line, row in body if row or len(header) == 1]
    for line, row in body:
        if len(row) != len(header):
            raise DataError(
                f"{path}:{line}: expected {len(header)} fields separated by {separator}, as in the header, "
                f"got {len(row)}"
            )
    if not body:
        raise DataError(f"{path}: expected rows after the header, got none")
    columns = zip(*(row for _, row in body), strict=True)
    frame = pd.DataFrame({name: _written(values) for name, values in zip(header, columns, strict=True)})
    return frame, np.array([line for line, _ in body], dtype=np.int64)


def _written(values: tuple[str, ...]) -> pd.Series[Any]:
    """Make a column of written values: of whole numbers, of numbers or of text."""
    import pandas as pd

    present = {value for value in values if value and value not in MISSING_NUMBERS}
    whole = bool(present) and all(INTEGER.fullmatch(value) for value in present)
    if whole and all(len(value) < 19 for value in present):
        numbers = [int(value) if value in present else None for value in values]
        return pd.Series(numbers, dtype="Int64" if None in numbers else "int64")
    # Whole numbers beyond 64 bits are kept as they are written.
    if present and not whole and all(NUMBER.fullmatch(value) for value in present):
        return pd.Series([float(value) if value in present else np.nan for value in values], dtype="float64")
    return pd.Series([value or None for value in values], dtype=object)


def _jsonl(path: Path, encoding: str) -> Table:
    import pandas as pd

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in items]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the name {twice!r} twice")
        return dict(items)

    rows, lines = [], []
    for number, line in enumerate(re.split(r"\r\n|\n|\r", _text(path, encoding)), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line, pairs, float)
            json.dumps(row, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
        except ValueError as error:
            got = f"something else: {error}" if str(error).startswith("expected") else str(error)
            raise DataError(f"{path}:{number}: expected a JSON object on one line, got {got}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: expected a JSON object, got {type(row).__name__}")
        rows.append(row)
        lines.append(number)
    if not rows:
        raise DataError(f"{path}: expected a JSON object on each line, got an empty file")
    names = list(dict.fromkeys(name for row in rows for name in row))
    frame = pd.DataFrame({name: _json_values([row.get(name) for row in rows]) for name in names})
    return frame, np.array(lines, dtype=np.int64)


def _json_values(values: list[Any]) -> pd.Series[Any]:
    import pandas as pd

    kinds = {type(value) for value in values if value is not None and value != ""}
    values = [None if value == "" else value for value in values]
    if kinds == {int} and all(value is None or abs(value) < 2**63 for value in values):
        return pd.Series(values, dtype="Int64" if None in values else "int64")
    if kinds and kinds <= {int, float}:
        return pd.Series([np.nan if value is None else float(value) for value in values], dtype="float64")
    return pd.Series(values, dtype=object)


def _parquet(path: Path, encoding: str) -> Table:
    import pandas as pd

    try:
        return pd.read_parquet(path), None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a Parquet file, got {str(error).splitlines()[0]}") from None


def _no_duplicates(source: str, names: list[str]) -> None:
    seen: dict[str, int] = {}
    for position, name in enumerate(names, start=1):
        if name in seen:
            raise DataError(
                f"{source}: expected each column's name once, got {name!r} as column {seen[name]} and column {position}"
            )
        seen[name] = position


def checked_frame(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return a frame with names as text and rows counted from 0.

    Raises:
        DataError: Two columns have one name, or there are no rows or columns.
    """
    names = [str(name) for name in frame.columns]
    _no_duplicates(source, names)
    if len(frame) == 0 or not names:
        raise DataError(f"{source}: expected rows and columns, got {len(frame)} rows and {len(names)} columns")
    frame = frame.reset_index(drop=True)
    return frame.set_axis(names, axis="columns")
