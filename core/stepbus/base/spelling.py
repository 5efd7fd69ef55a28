"""Paths that no change of the working directory moves, and how they were written, which messages say."""

from __future__ import annotations

import os
import re
from pathlib import Path

# Absolute path -> how it was written, and in which working directory.
_WRITTEN: dict[str, tuple[str, str]] = {}


def from_here(given: Path, here: Path | None = None) -> Path:
    """Return a path that stays the same whatever the working directory becomes.

    Args:
        given: A path; a relative one starts at the working directory.
        here: The working directory of the time when it was given; the present one if None.
    """
    if given.is_absolute():
        return given
    folder = here or Path.cwd()
    found = folder / given
    if given.parts:  # "." would stand for every path below it
        _WRITTEN[str(found)] = (str(given), str(folder))
    return found


def as_written(text: str) -> str:
    """Return a text with such paths as they were written, as long as that still leads there."""
    for absolute, (written, folder) in _WRITTEN.items():
        if absolute in text and _here() == folder:
            # Not as the end of a longer path; joined, because what was written may hold a backslash.
            text = written.join(re.split(rf"(?<![\w./~-]){re.escape(absolute)}", text))
    return text


def _here() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - a text is compared
    except OSError:  # it is gone
        return ""
