"""Small files: opened without waiting, of bounded size, and JSON without surprises."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stepbus.base.errors import BadInput, StepbusError

MAX_BYTES = 16 * 2**20
MAX_DIGITS = 308  # a whole number of more may not fit into a float
TOO_DEEP = "expected JSON of a sane depth, got one nested too deeply"
_HALF = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")


def open_file(path: Path, error: type[StepbusError], *, links: bool) -> int:
    """Open a plain file for reading; a pipe in its place does not block, and a device is not even opened.

    Args:
        path: The file.
        error: What to raise.
        links: Whether a link is followed. Yes for what users name and what other tools store as links, such as the
            hub's cache; no for what we wrote ourselves and vouch for, where a link is somebody else's doing.

    Returns:
        Its descriptor.

    Raises:
        StepbusError: In the given kind: something else stands there, and what.
        OSError: The file system refuses.
    """
    require_file(path, os.stat(path, follow_symlinks=links).st_mode, error)  # noqa: PTH116
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        require_file(path, os.fstat(descriptor).st_mode, error)
    except error:
        os.close(descriptor)
        raise
    return descriptor


def require_file(path: Path, mode: int, error: type[StepbusError]) -> None:
    """Refuse what is no plain file.

    Args:
        path: Where it stands.
        mode: Its `st_mode`.
        error: What to raise.

    Raises:
        StepbusError: In the given kind: a link, a folder or a special file stands there.
    """
    if not stat.S_ISREG(mode):
        kind = "a link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "a special file"
        raise error(f"{path}: expected a file, got {kind}")


def read_file(path: Path, error: type[StepbusError], most: int = MAX_BYTES, *, links: bool) -> bytes:
    """Return a plain file's content.

    Args:
        path: The file.
        error: What to raise.
        most: Bytes that it may have; no more are read.
        links: Whether a link is followed, see `open_file`.

    Raises:
        StepbusError: In the given kind: no plain file stands there, or it is longer.
        OSError: The file system refuses; who calls knows what the file was for.
    """
    with os.fdopen(open_file(path, error, links=links), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(most + 1) if size <= most else b""
    if (got := max(size, len(content))) > most:
        raise error(f"{path}: expected a file of at most {most:,} bytes, got {got:,}")
    return content


def read_foreign(path: Path, error: type[StepbusError], most: int = MAX_BYTES) -> bytes:
    """Return the content of a file that somebody else wrote; links are followed.

    Args:
        path: The file.
        error: What to raise.
        most: Bytes that it may have.

    Raises:
        StepbusError: In the given kind: no plain file stands there, it is longer, or it cannot be read.
    """
    try:
        return read_file(path, error, most, links=True)
    except OSError as failed:
        raise error(f"{path}: the file cannot be read: {failed.strerror}") from failed


def read_json(path: Path, error: type[BadInput], most: int = MAX_BYTES) -> Any:
    """Return the value of a JSON file.

    Args:
        path: The file.
        error: What to raise.
        most: Bytes that it may have.

    Raises:
        BadInput: In the given kind: it cannot be read, or is no JSON as `parse_json` wants it.
    """
    return json_of(read_foreign(path, error, most), str(path), error)


def json_of(content: bytes, source: str, error: type[BadInput]) -> Any:
    """Return the value of a JSON file's content.

    Args:
        content: What the file holds.
        source: The file, for messages.
        error: What to raise.

    Raises:
        BadInput: In the given kind: it is no JSON as `parse_json` wants it.
    """
    try:
        text = content.decode("utf-8-sig")
        value = parse_json(text, once)
        refuse_half_characters(text, value)
    except UnicodeDecodeError as failed:
        line = content.count(b"\n", 0, failed.start) + 1
        byte = content[failed.start]
        raise error(f"{source}:{line}: expected a JSON file in UTF-8, got the byte 0x{byte:02x}; save it so") from None
    except ValueError as failed:
        raise error(f"{source}: expected a readable JSON file: {failed}") from None
    return value


def parse_json(
    text: str | bytes,
    pairs: Callable[[list[tuple[str, Any]]], Any],
    constant: Callable[[str], Any] | None = None,
) -> Any:
    """Return what JSON text holds.

    Args:
        text: The text.
        pairs: Makes a mapping of names and values.
        constant: Makes a value of NaN, Infinity and -Infinity, which are refused without it.

    Raises:
        ValueError: It is no strict JSON: syntax, NaN or Infinity, a number beyond a float, or nested too deeply.

    Example:
        >>> parse_json('{"rate": 2e-5}', dict)
        {'rate': 2e-05}
        >>> parse_json('{"rate": NaN}', dict)
        Traceback (most recent call last):
        ValueError: expected strict JSON, got NaN
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=pairs,
            parse_constant=constant or _refuse_constant,
            parse_int=_whole,
            parse_float=_number,
        )
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def once(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a mapping of names and values.

    Raises:
        ValueError: A name stands there twice.
    """
    value = dict(items)
    if len(value) != len(items):
        names = [name for name, _ in items]
        raise ValueError(f"expected each key once, got {next(name for name in names if names.count(name) > 1)!r} again")
    return value


def refuse_half_characters(text: str, value: Any) -> None:
    """Refuse strings that no file in UTF-8 can hold.

    Args:
        text: JSON text.
        value: What it holds.

    Raises:
        ValueError: There is half of a character (a surrogate) in it.
    """
    if _HALF.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = ord(error.object[error.start])
            raise ValueError(f"expected text, got half of a character (the surrogate U+{half:04X})") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"expected strict JSON, got {name}")


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"expected numbers of at most {MAX_DIGITS} digits, got one of {len(text):,}")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"expected numbers that fit into 64 bits, got {text[:30]}")
    return number
