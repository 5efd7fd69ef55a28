"""Removing what stepbus made, and nothing else: no folder is ever removed with what happens to lie in it."""

from __future__ import annotations

import re
import stat
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from stepbus.base import CheckpointError
from stepbus.storage import fsync_folder
from stepbus.storage.checkpoints.verification import (
    LITTER,
    MANIFEST,
    Checkpoint,
    check_listing,
    read_manifest,
    recalled,
)


def ours(path: Path) -> Checkpoint | None:
    """Return the manifest of a folder that holds exactly one of our checkpoints, or None; contents are not hashed."""
    try:
        # A boundary waits for this: what was verified is not parsed again while nobody touches it.
        checkpoint = recalled(path) or read_manifest(path)
        check_listing(checkpoint)
    except (CheckpointError, OSError):
        return None
    return checkpoint


Emptying = Callable[[Path], object]  # removes a trashed checkpoint, now or later: `empty_trash`


def remove(path: Path, empty: Emptying | None = None) -> None:
    """Take a checkpoint's name away, then remove its files, the manifest last: it says which files are ours.

    Args:
        path: The checkpoint.
        empty: What removes the files; None does it now.

    Raises:
        OSError: The file system refuses.
    """
    name = next(iter(re.findall(r"step-[0-9]+", path.name)), "step-0")
    trash = path.with_name(f".trash-{name}-{uuid.uuid4().hex}")
    path.rename(trash)
    fsync_folder(path.parent)
    (empty or empty_trash)(trash)


def empty_trash(trash: Path) -> None:
    """Remove the files that a trashed checkpoint's manifest lists, and the folder if nothing else is in it.

    Raises:
        OSError: The file system refuses.
    """
    with suppress(CheckpointError):
        for name in read_manifest(trash).files:
            (trash / name).unlink(missing_ok=True)
        (trash / MANIFEST).unlink()
    for entry in trash.iterdir():
        if LITTER.fullmatch(entry.name) and stat.S_ISREG(entry.lstat().st_mode):
            entry.unlink()
    with suppress(OSError):  # somebody put something there: it stays
        trash.rmdir()


def clear(beside: Path) -> None:
    """Remove an unfinished `.tmp` folder of ours as far as possible; it holds plain files and no folder."""
    with suppress(OSError):
        for entry in beside.iterdir():
            if stat.S_ISREG(entry.lstat().st_mode):
                entry.unlink()
        beside.rmdir()
