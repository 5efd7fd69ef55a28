"""Whether a text that somebody gave can be a path at all: asked once, where it comes in, before anything opens it."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from stepbus.base.errors import BadInput

MAX_NAME = 255  # bytes of one name, on every file system in use
_OTHER_PLACE = re.compile(r"[A-Za-z][\w+.-]*:")  # package:…, sklearn:…, a URL


# What `Path` leaves of a URL has one slash only.
_URL = re.compile(r"[A-Za-z][\w+.-]+://|(https?|s?ftp|file|ssh|s3|gs|hdfs):/", re.IGNORECASE)


def is_url(given: str | os.PathLike[str]) -> bool:
    """Whether something names a place elsewhere, where nothing can be written; a path would make folders of it."""
    return _URL.match(os.fspath(given)) is not None


def usable(given: str | os.PathLike[str], error: type[BadInput] = BadInput, setting: str = "") -> Path:
    """Return a path that can be asked for, `~` expanded; whether something stands there is another question.

    Args:
        given: What the user gave.
        error: What to raise.
        setting: Who it was given for, for the message.

    Raises:
        BadInput: In the given kind: it can be no path.
    """
    reason = unusable(given)
    if reason is not None:
        raise error(f"{setting}: {reason}" if setting else reason)
    return Path(os.path.expanduser(given))  # noqa: PTH111 - Path would raise


def unusable(given: str | os.PathLike[str], folder: Path | None = None) -> str | None:
    """Return why something can be no path, in words that name it; None for one that can.

    Args:
        given: What the user gave.
        folder: Where a relative one starts; the working directory if None.
    """
    text = os.fspath(given) if isinstance(given, str | bytes | os.PathLike) else given
    if not isinstance(text, str):
        return f"expected a path as text, got {'None' if text is None else f'{type(text).__name__}: {text!r:.60}'}"
    reason = _reason(text, folder)
    return None if reason is None else f"expected a path, got {_brief(text)}: {reason}"


def _reason(text: str, folder: Path | None) -> str | None:
    if not text:
        return "it is empty"
    if "\0" in text:
        return "it holds a NUL character"
    try:
        names = os.fsencode(text).split(b"/")
    except UnicodeEncodeError:
        return "it holds a character that no file's name here can hold"
    if any(len(name) > MAX_NAME for name in names):
        return f"a name in it is longer than {MAX_NAME} bytes"
    if _OTHER_PLACE.match(text):
        return None
    expanded = os.path.expanduser(text)  # noqa: PTH111 - Path would raise
    if expanded.startswith("~") and not os.path.lexists(text):
        return f"there is no user {text.partition('/')[0][1:]!r}"
    try:
        # Whatever the system says, and not only whether it is there.
        Path(folder or "", expanded).stat()
    except OSError as error:
        return _REASONS.get(error.errno or 0)
    return None


_REASONS = {
    errno.ENAMETOOLONG: "it is longer than the system allows",
    errno.ENOTDIR: "it leads through a file as if that were a folder",
    errno.ELOOP: "its links go round in a circle",
    errno.EACCES: "there is no permission to look there",
}


def _brief(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 80 else f"{shown[:50]}…{shown[-10:]} ({len(text):,} letters)"
