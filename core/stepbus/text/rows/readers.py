"""Files of rows as data frames, each value as the file has it, each row with the line it stands on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.base import DataError, IntArray, did_you_mean, parse_json, usable
from stepbus.text.rows.frames import as_frame, plain_column
from stepbus.text.rows.packed import unpacked, zip_member
from stepbus.text.rows.text_tables import read_text_table

if TYPE_CHECKING:
    import pandas as pd

BUNDLED = ("breast_cancer", "diabetes", "digits", "iris", "wine")
PACKED = (".gz", ".zip")
ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
# Endings of files that are not read -> what to do instead.
OTHERS = {
    **dict.fromkeys(
        (".xlsx", ".xls", ".xlsm", ".xlsb", ".ods"),
        "save the sheet as CSV (UTF-8), or in Python hand over pandas.read_excel(…)",
    ),
    ".json": "write one JSON object on each line and call the file .jsonl, or in Python hand over pandas.read_json(…)",
    **dict.fromkeys((".txt", ".dat"), "give a file with a header and fields the ending .csv or .tsv"),
    **dict.fromkeys((".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".tgz"), "unpack it, or pack it as .gz or .zip"),
    **dict.fromkeys((".pkl", ".pickle"), "a pickle may run code when it is opened; save the frame as Parquet"),
    **dict.fromkeys((".feather", ".arrow", ".orc"), "save the table as Parquet, or in Python hand over the frame"),
}

Table = tuple["pd.DataFrame", IntArray | None]


def read_table(source: str, encoding: str, separator: str | None = None) -> Table:
    """Read a file, or a table that ships with scikit-learn.

    Cells of text files are text, as they are written, where only an empty field is a gap. JSON and Parquet keep the
    types that their values have; whole numbers stay whole beside gaps; `stepbus.text.rows.cells` spells them.

    Args:
        source: Path of a .csv, .tsv, .jsonl or .parquet file, of such a text file as .gz or .zip; or `sklearn:NAME`.
        encoding: Character encoding of a text file.
        separator: What stands between the fields of a CSV or TSV file; None tells by the file.

    Returns:
        The frame, and the line of each row in the file (None where there are no lines).

    Raises:
        DataError: It cannot be read.
    """
    if source.startswith("sklearn:"):
        return _bundled(source), None
    path = usable(source, DataError)
    if not path.is_file():
        if path.exists() and not path.is_dir():
            raise DataError(f"{source}: expected a file, got a device or a pipe, which is read once; save it first")
        got = "a folder" if path.is_dir() else "nothing"
        raise DataError(f"{source}: expected a file, got {got}{_nearby(source, path)}")
    kind = _kind(path)
    if kind == ".parquet":
        return _parquet(path)
    text = _text(path, encoding)
    if kind in (".jsonl", ".ndjson"):
        return _jsonl(path, text)
    return read_text_table(source, text, "\t" if kind == ".tsv" else ",", separator)


def _nearby(source: str, path: Path) -> str:
    if "://" in source:
        return "; fetch it first, and name the file"
    try:
        if not path.parent.is_dir():
            return f"; the folder {path.parent} does not exist" if len(str(path)) < 200 else ""
        near = did_you_mean(path.name, [other.name for other in path.parent.iterdir()])
    except (OSError, ValueError):
        return ""
    return near or ('; a text is a row: [{"text": …}]' if " " in path.name and not path.suffix.strip(" .") else "")


def _kind(path: Path) -> str:
    """Return the ending that says how a file is read: of a packed file, that of what is inside."""
    ending = path.suffix.lower()
    inside = Path(path.stem).suffix.lower() if ending in PACKED else ending
    if ending == ".zip" and inside not in ENDINGS:
        inside = Path(zip_member(path)).suffix.lower()
    if inside in ENDINGS and not (ending in PACKED and inside == ".parquet"):
        return inside
    known = f"{', '.join(ENDINGS)}, or a text file among them as {' or '.join(PACKED)}"
    unknown = inside if inside != ending and ending not in OTHERS else ending
    advice = f"; {OTHERS[unknown]}" if unknown in OTHERS else ""
    if inside == ".parquet":
        advice = "; Parquet is packed in itself, so unpack it"
    raise DataError(f"{path}: expected a file ending in {known}, got {path.suffix.lower() or 'no ending'!r}{advice}")


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
    data = unpacked(path)
    try:
        # A byte order mark is no part of the first column's name.
        text = data.decode("utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding)
    except LookupError:
        raise DataError(f"data.encoding: expected the name of a character encoding, got {encoding!r}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        other = _likely(data)
        raise DataError(
            f"{path}:{line}: expected text in {encoding}, got byte 0x{data[error.start]:02x} at position {error.start} "
            f"of the file; save the file in {encoding} or set data.encoding, perhaps to {other}"
        ) from None
    except UnicodeError as error:  # UTF-16 without a mark of its byte order
        raise DataError(f"{path}: expected text in {encoding}, got another ({error}); set data.encoding") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        guess = _likely(data)
        advice = f", perhaps to {guess}" if guess.startswith("utf-16") else ""
        raise DataError(
            f"{path}:{line}: expected text in {encoding}, got a NUL byte; take it out or set data.encoding{advice}"
        )
    return text


def _likely(data: bytes) -> str:
    """Return the encoding that the bytes of a text are most likely in."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if data.count(b"\0") * 3 > len(data):
        return "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _jsonl(path: Path, text: str) -> Table:
    import pandas as pd

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in items]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"the name {twice!r} twice")
        return dict(items)

    rows, lines = [], []
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
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
    frame = pd.DataFrame({name: plain_column([row.get(name) for row in rows]) for name in names})
    return frame, np.array(lines, dtype=np.int64)


def _parquet(path: Path) -> Table:
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected a Parquet file, got {str(error).splitlines()[0]}") from None
    return as_frame(table, str(path)), None
