"""Whose the files are where a model is written: ours are replaced, all others are carried over or refused."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from stepbus.base import CheckpointError, ModelError
from stepbus.storage import DESCRIPTION, LINEAGE, files_of
from stepbus.text.tokens import TOKENIZER_FILES

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_USUAL = frozenset({*_WEIGHTS, "config.json", LINEAGE, *TOKENIZER_FILES, ".DS_Store"})


def names_to_replace(folder: Path, new: frozenset[str], *, described: bool) -> frozenset[str]:
    """Return the names in a folder that need not be carried over when a model is written there.

    Args:
        folder: Where the model will be; it may be missing.
        new: The names that the model has or leads readers astray with.
        described: Whether it has a stepbus.json, which lists what is ours; without, only a model gives way.

    Raises:
        ModelError: The place, or a file in it, is somebody else's and would be replaced.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ModelError(f"{folder}: expected a folder or nothing at all, found a file or a link; name another place")
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    ours = _ours_in(folder) if described else _USUAL
    if not described and (others := sorted(there - ours - new)):
        raise ModelError(f"{folder}: it holds {others[0]!r}, which is no part of a model; name another place")
    if described and (theirs := sorted((there & new) - ours)):
        if DESCRIPTION not in there:
            raise ModelError(
                f"{folder}: it holds a model that stepbus did not write; move it away or name another place"
            )
        raise ModelError(
            f"{folder / theirs[0]}: stepbus did not write it, and the model has a file of this name; move it away"
        )
    return ours | new


def own_files(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return the files of some names in a model's folder that are somebody's own, and no model's that stepbus wrote.

    Args:
        folder: The folder; it may be missing.
        names: Names that will be written there.
    """
    there = [folder / name for name in names if os.path.lexists(folder / name)]
    return [path for path in there if path.name not in _ours_in(folder)] if there else []


def _ours_in(folder: Path) -> frozenset[str]:
    """Return what stepbus.json lists; nothing where there is none, and what models have where it is damaged."""
    if not os.path.lexists(folder / DESCRIPTION):
        return frozenset({".DS_Store"})
    try:
        return frozenset({*files_of(folder), DESCRIPTION, ".DS_Store"})
    except CheckpointError:
        return _USUAL | {DESCRIPTION}  # who wrote what is known no more
