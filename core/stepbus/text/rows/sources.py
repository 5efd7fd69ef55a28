"""What a reader is given: the name of the rows and the file behind it, opened as every file of rows is; and returns."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from attrs import frozen

from stepbus.base import DataError, did_you_mean, usable
from stepbus.text.rows.frames import no_duplicates
from stepbus.text.rows.packed import unpacked

log = logging.getLogger(__name__)


@frozen(eq=False)
class Table:
    """Rows as a reader returns them where it knows on which lines of a text file they stand.

    Args:
        rows: A frame, an Arrow table, a list of dictionaries (one a row) or a dictionary of columns.
        lines: The line of each row, from 1, rising; int [N].

    Example:
        >>> Table([{"text": "a good film"}, {"text": "a dull film"}], lines=[2, 3])  # on lines 2 and 3 of its file
        Table(rows=[{'text': 'a good film'}, {'text': 'a dull film'}], lines=[2, 3])
    """

    rows: Any
    lines: Any = None


@frozen(eq=False)
class Source:
    """What a reader is asked to read. Its text is what messages call it.

    Args:
        label: What was written, without passwords: "train.csv", "sqlite:titanic.db#passengers".
        given: What was written.
        suffix: The ending that picked the reader, of a packed file that of what is inside; "" where a scheme did.
        rest: What stands behind the scheme, or behind the file of a scheme with one: "#passengers".
        file: The file, as it was written; None where the scheme names none.
        encoding: Character encoding of a text file (data.encoding).
        separator: What stands between fields (data.separator, a tab for `tab`), or None.

    Example:
        >>> source = Source("train.csv", "train.csv", suffix=".csv", file="train.csv")
        >>> source.text().splitlines()[0]
        'text,label'
    """

    label: str
    given: str
    suffix: str = ""
    rest: str = ""
    file: str | None = None
    encoding: str = "utf-8"
    separator: str | None = None

    def __str__(self) -> str:
        return self.label

    @property
    def path(self) -> Path:
        """The file, which is there.

        Raises:
            DataError: There is no such file, or what stands there is no plain file.
        """
        assert self.file is not None, "a source without a file"
        path = usable(self.file, DataError)
        if not path.is_file():
            if path.exists() and not path.is_dir():
                raise DataError(f"{self}: expected a file, got a device or a pipe, which is read once; save it first")
            got = "a folder" if path.is_dir() else "nothing"
            raise DataError(f"{self}: expected a file, got {got}{_nearby(self.file, path)}")
        return path

    def content(self) -> bytes:
        """Return the bytes of the file, unpacked where it is packed.

        Raises:
            DataError: It is damaged, holds too much, or cannot be read.
        """
        try:
            return unpacked(self.path)
        except OSError as error:
            raise DataError(f"{self}: expected a file that can be read, got: {error.strerror or error}") from None

    def text(self) -> str:
        """Return the characters of the file.

        Raises:
            DataError: It is no text in the encoding that was said.
        """
        data = self.content()
        for beginning, what in BEGINNINGS.items():
            if data.startswith(beginning):
                raise DataError(f"{self}: expected a text file, got {what}")
        return _decoded(self, data)

    def check_names(self, names: Sequence[str]) -> None:
        """Refuse columns that share a name.

        Raises:
            DataError: Two do.
        """
        no_duplicates(self.label, list(names))

    def say(self, text: str) -> None:
        """Warn of something about the source that is no fault."""
        log.warning("%s: %s", self, text)


@runtime_checkable
class Reader(Protocol):
    """What a component of kind `reader` builds: it reads the sources whose ending or scheme its metadata names.

    Example:
        >>> class Lines:
        ...     def read(self, source):
        ...         return [{"text": line} for line in source.text().splitlines()]
        >>> isinstance(Lines(), Reader)
        True
    """

    def read(self, source: Source) -> Any:
        """Return the rows: a frame, a list or a generator of dictionaries, columns, an Arrow table, or a `Table`.

        A missing cell is None or NaN; the same source gives the same rows in the same order each time.

        Raises:
            DataError: It cannot be read: in one sentence that begins with the source, says what was expected and came.
        """


# How files begin that are no text, whatever their name says.
BEGINNINGS = {
    b"\x1f\x8b": "a gzip file; call it NAME.csv.gz",
    b"PK\x03\x04": "a zip or Excel file; save the sheet as CSV, or call a packed CSV file NAME.csv.zip",
    b"\xd0\xcf\x11\xe0": "an Excel file; save the sheet as CSV",
    b"PAR1": "a Parquet file; call it NAME.parquet",
    b"BZh": "a bzip2 file; unpack it",
    b"\xfd7zXZ": "an xz file; unpack it",
    b"(\xb5/\xfd": "a zstd file; unpack it",
    b"7z\xbc\xaf": "a 7z file; unpack it",
    b"%PDF": "a PDF file; save its table as CSV",
    b"SQLite": "an SQLite file; name it sqlite:FILE#TABLE",
}


def _nearby(given: str, path: Path) -> str:
    if given.startswith("//"):
        return f"; write the path without the two slashes before it: {given.lstrip('/')}, or /{given.lstrip('/')}"
    try:
        if not path.parent.is_dir():
            return f"; the folder {path.parent} does not exist" if len(str(path)) < 200 else ""
        near = did_you_mean(path.name, [other.name for other in path.parent.iterdir()])
    except (OSError, ValueError):
        return ""
    return near or ('; a text is a row: [{"text": …}]' if " " in path.name and not path.suffix.strip(" .") else "")


def _decoded(source: Source, data: bytes) -> str:
    encoding = source.encoding
    try:
        # A byte order mark is no part of the first column's name.
        text = data.decode("utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding)
    except LookupError:
        raise DataError(f"data.encoding: expected the name of a character encoding, got {encoding!r}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        other = _likely(data)
        raise DataError(
            f"{source}:{line}: expected text in {encoding}, got byte 0x{data[error.start]:02x} at position "
            f"{error.start} of the file; save the file in {encoding} or set data.encoding, perhaps to {other}"
        ) from None
    except UnicodeError as error:  # UTF-16 without a mark of its byte order
        raise DataError(f"{source}: expected text in {encoding}, got another ({error}); set data.encoding") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        guess = _likely(data)
        advice = f", perhaps to {guess}" if guess.startswith("utf-16") else ""
        raise DataError(
            f"{source}:{line}: expected text in {encoding}, got a NUL byte; take it out or set data.encoding{advice}"
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
