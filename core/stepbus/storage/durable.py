"""Files that are whole or absent after a crash: atomic writing, fsync, strict JSON, and the lock of a folder.

Everything goes through `os` one operation at a time, so that the tests can kill a process between any two.
Failures of the file system stay `OSError`; who calls knows what the file was for.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import sys
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import frozen

from stepbus.base import MAX_DIGITS, once, parse_json
from stepbus.storage.locks import LOCK as LOCK
from stepbus.storage.locks import lock_folder as lock_folder

BLOCK = 4 * 2**20  # bytes hashed and written at once: small enough for the cache, large enough for one system call
NOT_A_NUMBER = "$number"


@frozen
class Written:
    """What went into a file.

    Args:
        size: Bytes.
        sha256: Hexadecimal digest.
    """

    size: int
    sha256: str


def fsync_file(descriptor: int) -> None:
    """Bring an open file to the disk; on macOS through the drive's own cache too, which fsync leaves out."""
    if sys.platform == "darwin":
        try:
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
        except OSError:
            pass  # a file system that does not know it, such as a network's: fsync is all there is
    os.fsync(descriptor)


def fsync_folder(path: Path) -> None:
    """Bring a folder's entries to the disk: files created, renamed or removed in it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, blocks: Iterable[bytes | memoryview]) -> Written:
    """Write a new file and bring it to the disk, hashing on the way.

    Args:
        path: A name that does not exist yet.
        blocks: Its content, in order; each a contiguous run of bytes.

    Returns:
        Size and digest of what was written.

    Raises:
        OSError: The file exists, or the file system refuses.
    """
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        for block in blocks:
            view = memoryview(block)
            for start in range(0, len(view), BLOCK):
                part = view[start : start + BLOCK]
                digest.update(part)
                size += len(part)
                while part:  # a write may take less than it was given
                    part = part[os.write(descriptor, part) :]
        fsync_file(descriptor)
    finally:
        os.close(descriptor)
    return Written(size, digest.hexdigest())


def write_bytes_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content: after a crash it holds the old or the new, never a part.

    Raises:
        OSError: The file system refuses; the old content stays.

    Example:
        >>> write_bytes_atomically(Path("weights.bin"), b"12")
        >>> Path("weights.bin").read_bytes()
        b'12'
    """
    beside = path.with_name(f".tmp-{uuid.uuid4().hex}-{path.name}")
    try:
        write_file(beside, [content])
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    fsync_folder(path.parent)


def write_text_atomically(path: Path, text: str) -> None:
    """Replace a text file's content, as UTF-8, like `write_bytes_atomically`.

    Example:
        >>> write_text_atomically(Path("note.txt"), "done")
        >>> Path("note.txt").read_text()
        'done'
    """
    write_bytes_atomically(path, text.encode())


def write_json_atomically(path: Path, value: Any) -> None:
    """Replace a JSON file's content, in the form of `to_json`, like `write_bytes_atomically`."""
    write_text_atomically(path, to_json(value))


def to_json(value: Any) -> str:
    """Return a value as strict JSON that `from_json` turns into an equal one.

    JSON has no NaN and no infinities, yet a metric may be one: such a number becomes {"$number": "nan"}.
    Tuples become lists.

    Args:
        value: None, bool, int, float, str, and lists, tuples and mappings of them with str keys.

    Raises:
        ValueError: Something in it would not come back as it was; the message names the place.
    """
    return json.dumps(_encoded(value, ""), indent=2, allow_nan=False) + "\n"


def _encoded(value: Any, place: str) -> Any:
    if type(value) is int and abs(value) >= 10**MAX_DIGITS:
        raise ValueError(f"{place or 'top level'}: expected a number of at most {MAX_DIGITS} digits, got a longer one")
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {NOT_A_NUMBER: repr(float(value))}
    if isinstance(value, list | tuple):
        return [_encoded(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key == NOT_A_NUMBER:
                raise ValueError(f"{place or 'top level'}: expected str keys other than {NOT_A_NUMBER!r}, got {key!r}")
        return {str(key): _encoded(item, f"{place}.{key}".lstrip(".")) for key, item in value.items()}
    kind = type(value)
    raise ValueError(f"{place or 'top level'}: expected a JSON value, got {kind.__module__}.{kind.__qualname__}")


def from_json(text: str | bytes) -> Any:
    """Return the value that `to_json` wrote.

    Raises:
        ValueError: It is no strict JSON: syntax, a repeated key, a bare NaN, a number beyond a float, or nested
            beyond all reason.
    """
    return parse_json(text, _decoded)


def _decoded(pairs: list[tuple[str, Any]]) -> Any:
    value = once(pairs)
    if NOT_A_NUMBER in value:
        if len(value) > 1 or value[NOT_A_NUMBER] not in ("nan", "inf", "-inf"):
            raise ValueError(f"expected {NOT_A_NUMBER} to be nan, inf or -inf and to stand alone, got {value!r}")
        return float(value[NOT_A_NUMBER])
    return value
