"""Which reader reads a source of rows, and what it returns looked at where it comes in; the readers are plugins."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.base import (
    SCHEME,
    DataError,
    IntArray,
    PluginError,
    Selected,
    by_scheme,
    counted,
    did_you_mean,
    listed,
    show_python,
    without_secrets,
)
from stepbus.text.rows.frames import as_frame, checked_frame
from stepbus.text.rows.packed import zip_member
from stepbus.text.rows.sources import Reader, Source, Table

if TYPE_CHECKING:
    import pandas as pd

    from stepbus.config import DataSettings

PACKED = (".gz", ".zip")
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
# Where nothing is read from by itself, but files can be fetched.
_REMOTE = ("http", "https", "ftp", "ftps", "sftp", "scp", "ssh", "s3", "gs", "gcs", "az", "abfs", "hdfs")
_INSTALLED = "a plugin that reads it is named under plugins: (`stepbus plugins list` says what is installed)"


def read_table(given: str, config: DataSettings) -> tuple[pd.DataFrame, IntArray | None]:
    """Read rows from a file, or from whatever else a reader takes.

    Args:
        given: A path, whose ending says which reader it is for, or `SCHEME:…`.
        config: The data section, with the readers that there are.

    Returns:
        The frame, and the line of each row in the file (None where there are no lines).

    Raises:
        DataError: It cannot be read.
        PluginError: A reader raised, or returned what are no rows.
    """
    reader, source = find_reader(given, config)
    return checked_rows(_read(reader, source), reader, source)


def readers_in_use(config: DataSettings) -> list[Selected]:
    """Return the readers of the sources that a configuration names, as far as those are there.

    Args:
        config: The data section.
    """
    found: dict[str, Selected] = {}
    for given in (config.train, config.validation, config.test):
        with suppress(DataError):
            if isinstance(given, str):
                reader, _ = find_reader(given, config)
                found[reader.name] = reader
    return list(found.values())


def label_of(given: str) -> str:
    """Return what messages call a source: without passwords, and a query of several lines on one."""
    label = without_secrets(given)
    return " ".join(label.split()) if SCHEME.match(given) else label


def find_reader(given: str, config: DataSettings) -> tuple[Selected, Source]:
    """Return the reader of a source, and the source as the reader gets it.

    Raises:
        DataError: No reader is known for it, or there is no such file.
    """
    readers = config.readers or {}
    label = label_of(given)
    separator = "\t" if config.separator == "tab" else config.separator
    named = by_scheme(given, [reader.component for reader in readers.values()])
    if named is not None:
        if named.path == "":
            raise DataError(f"{label}: expected a file after {named.scheme}:, got nothing")
        source = Source(label, given, "", named.rest, named.path, config.encoding, separator)
        return readers[named.reader.name], source
    source = Source(label, given, file=given, encoding=config.encoding, separator=separator)
    suffixes = {
        suffix: reader for reader in readers.values() for suffix in reader.component.metadata.get("suffixes", ())
    }
    said = _unknown_scheme(source, readers) or _lacks_scheme(source, suffixes)
    if said and not os.path.isfile(given):  # noqa: PTH113 - Path would raise where a name is too long
        raise DataError(said)
    suffix = _suffix(source, suffixes)
    return suffixes[suffix], Source(label, given, suffix, "", given, config.encoding, separator)


def _unknown_scheme(source: Source, readers: Mapping[str, Selected]) -> str:
    """Return what to say of a source that begins with a scheme which nobody reads, or nothing where it has none."""
    found = SCHEME.match(source.given)
    if found is None:
        return ""
    if found[1].lower() in _REMOTE:
        return f"{source}: expected a file, got nothing; fetch it first, and name the file"
    known = [scheme for reader in readers.values() for scheme in reader.component.metadata.get("schemes", ())]
    near = did_you_mean(found[1].lower(), known)
    mend = _switch(f"{found[1].lower()}:") or near or f"; {_INSTALLED}"
    schemes = f"one of the schemes {listed([f'{scheme}:' for scheme in known])}" if known else "no scheme"
    return f"{source}: expected a file, or {schemes}, got {found[1] + ':'!r}{mend}"


def _lacks_scheme(source: Source, known: Mapping[str, Selected]) -> str:
    """Return what to say of titanic.db#passengers, which names a part of a file as only a scheme can, or nothing."""
    path = re.split("[#?]", source.given, maxsplit=1)[0]
    reader = None if path == source.given else known.get(_ending(os.path.basename(path), known))  # noqa: PTH119
    if reader is None or not (reader.component.metadata.get("file") and reader.component.metadata.get("schemes")):
        return ""
    scheme = reader.component.metadata["schemes"][0]
    return f"{source}: expected a file, got nothing; a part of one is named with its scheme: {scheme}:{source}"


def _suffix(source: Source, known: Mapping[str, Selected]) -> str:
    """Return the ending that says how a file is read: of a packed file, that of what is inside."""
    path = source.path
    ending = _ending(path.name, known)
    inside = ending
    if ending in PACKED and ending not in known:
        inside = _ending(path.name[: -len(ending)], known)
        if ending == ".zip" and inside not in known:
            inside = _ending(zip_member(path), known)
    packed = inside != ending
    if inside in known and (not packed or known[inside].component.metadata.get("packed")):
        return inside
    if not known:
        mend = _switch(inside) or f"; {_INSTALLED}"
        raise DataError(f"{source}: expected a plugin that reads files, and none is switched on{mend}")
    texts = [suffix for suffix, reader in known.items() if reader.component.metadata.get("packed")]
    also = f", or {listed(texts, 'or')} as {' or '.join(PACKED)}" if texts else ""
    unknown = inside if inside != ending and ending not in OTHERS else ending
    if inside in known:
        advice = f"; {'Parquet is packed in itself, so ' if inside == '.parquet' else ''}unpack it"
    else:
        advice = _switch(unknown) or f"; {OTHERS.get(unknown, _INSTALLED)}"
    got = path.suffix.lower() or "no ending"
    raise DataError(f"{source}: expected a file ending in {', '.join(known)}{also}, got {got!r}{advice}")


def _switch(claim: str) -> str:
    """Return how to switch on an installed plugin that reads an ending or a scheme, or nothing where none does."""
    from stepbus.config.discovery import reading, switch_on

    switch = switch_on(reading(claim))
    return f"; what reads it is installed: switch it on with {switch}" if switch else ""


def _ending(name: str, known: Mapping[str, Any]) -> str:
    """Return the longest known ending of a file's name, or else the last one that it has."""
    found = [suffix for suffix in known if name.lower().endswith(suffix) and len(name) > len(suffix)]
    return max(found, key=len, default=Path(name).suffix.lower())


def _read(reader: Selected, source: Source) -> Any:
    """Return what a reader returns; a generator is read to its end."""
    maker = reader.maker
    made = reader.build()
    if not isinstance(made, Reader):
        raise maker.fault(
            f"expected its build to return an object with read(source), got {show_python(made)}", PluginError
        )
    with maker.calling(f"reading {source}", PluginError):
        found = made.read(source)
        return list(found) if isinstance(found, Iterator) else found


def checked_rows(found: Any, reader: Selected, source: Source) -> tuple[pd.DataFrame, IntArray | None]:
    """Return what a reader returned as a frame and the lines of its rows, having looked at both.

    Raises:
        DataError: There are no rows, or two columns have one name.
        PluginError: It is no rows.
    """
    rows, lines = (found.rows, found.lines) if isinstance(found, Table) else (found, None)

    def fault(expected: str, got: str) -> Exception:
        return reader.maker.fault(f"reading {source}: expected {expected}, got {got}", PluginError)

    if rows is None:
        raise fault("rows", "None; return them, such as a frame")
    try:
        frame = as_frame(rows, source.label)
    except DataError as error:
        said = str(error).replace("expected a file, a frame", "expected a frame")
        raise reader.maker.fault(f"reading {said}", PluginError) from None
    if odd := [name for name in frame.columns if not isinstance(name, str | tuple)]:
        raise fault("text as the names of columns", repr(odd[0]))
    frame = checked_frame(frame, source.label)
    if lines is None:
        return frame, None
    try:
        numbers = np.asarray(lines)
    except ValueError:  # lists of different lengths
        numbers = np.asarray(lines, object)
    if wrong := _odd_lines(numbers, len(frame)):
        raise fault(f"the line of each of {counted(len(frame), 'row')}, whole numbers from 1 that rise", wrong)
    return frame, numbers.astype(np.int64)


def _odd_lines(numbers: Any, rows: int) -> str:
    """Return what is wrong with the lines of rows: the first that is none, or does not rise; nothing where all are.

    Args:
        numbers: The lines, an array.
        rows: How many rows there are.
    """
    if numbers.ndim != 1:
        return f"an array of shape {list(numbers.shape)}" if numbers.ndim else show_python(numbers.item())
    if len(numbers) != rows:
        return f"{len(numbers)} of them"
    if numbers.dtype.kind not in "iu":
        values = numbers.tolist()
        return f"{show_python(next((each for each in values if type(each) is not int), values[0]))} among them"
    if numbers[0] < 1:
        return f"{numbers[0]} for row 1"
    falls = np.flatnonzero(numbers[1:] <= numbers[:-1])
    if not len(falls):
        return ""
    place = int(falls[0])
    return f"{numbers[place + 1]} for row {place + 2} after {numbers[place]}"
