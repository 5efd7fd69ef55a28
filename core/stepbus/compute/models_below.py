"""Where a model lies below a folder that has none itself, such as that of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from stepbus.base import listed
from stepbus.storage import checkpoints

MOST = 3  # paths that a sentence names
_MODELS = ("model", "fits/*/model", "*/model")
_CHECKPOINTS = (".", "checkpoints", "fits/*/checkpoints", "*/checkpoints")


def models_below(source: str, folder: Path) -> str:
    """Return which paths to write in place of a folder without a model, as the end of a sentence; "" for none.

    Args:
        source: What the user wrote.
        folder: The folder that it led to.
    """
    if Path(source).expanduser() != folder:  # inside a wheel or a package, where nobody trains
        return ""
    found = _distinct(path for pattern in _MODELS for path in _in_order(folder, pattern))
    what = "model"
    if not found:
        places = [place for pattern in _CHECKPOINTS for place in _in_order(folder, pattern)]
        # The newest of each fit comes first.
        found = _distinct(path for place in places for path in reversed(_scan(place)))
        what = "checkpoint"
    if not found:
        return ""
    shown = [str(path) for path in found[:MOST]]
    if len(found) == 1:
        return f"; a {what} lies below it: write {shown[0]}"
    named = ", ".join(shown) + f" and {len(found) - MOST} more" if len(found) > MOST else listed(shown, "or")
    return f"; {what}s lie below it: write one of {named}"


def _in_order(folder: Path, pattern: str) -> list[Path]:
    """Return the folders of a pattern, fold-2 before fold-10."""
    if pattern == ".":
        return [folder]
    return sorted(folder.glob(pattern), key=lambda path: (len(str(path)), str(path)))


def _scan(place: Path) -> list[Path]:
    try:
        return checkpoints.scan(place)
    except OSError:  # nobody may look into it
        return []


def _distinct(paths: Iterator[Path]) -> list[Path]:
    """Return those that hold a model, each once: a link in a run leads to the model of its only fit."""
    found: dict[str, Path] = {}
    for path in paths:
        if os.path.isfile(path / "config.json"):  # noqa: PTH113 - a Path raises where nobody may look
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())
