"""What killed writers left in a folder of checkpoints, under names that `stepbus.storage.checkpoints.writing` lists."""

from __future__ import annotations

import os
import re
import stat
import uuid
from contextlib import suppress
from pathlib import Path

from stepbus.storage import fsync_folder
from stepbus.storage.checkpoints.removal import clear, empty_trash, ours, remove
from stepbus.storage.checkpoints.verification import checkpoint_path, is_sound, scan

_ID = "[0-9a-f]{32}"
_HIDDEN = re.compile(rf"\.(tmp|(?:replaced|trash|quarantine)-step)-([0-9]+)-{_ID}")
_BESIDE = re.compile(rf"\.tmp-{_ID}-(LATEST|BEST|best|shared)")


def hidden(folder: Path, kind: str) -> list[tuple[int, Path]]:
    """Return our hidden entries of one kind (tmp, replaced, trash, quarantine) as (step, path)."""
    matches = [(_HIDDEN.fullmatch(path.name), path) for path in folder.iterdir()]
    return sorted((int(match[2]), path) for match, path in matches if match and match[1].partition("-")[0] == kind)


def sweep(folder: Path) -> None:
    """Remove what a killed writer left; what does not prove to be ours is left alone, and no link is followed.

    A checkpoint that gave its name to one which never came gets it back.

    Args:
        folder: Where checkpoints lie; the caller holds its lock, so no other writer is alive.

    Raises:
        OSError: The file system refuses.
    """
    for path in folder.iterdir():
        match, mode = _BESIDE.fullmatch(path.name), path.lstat().st_mode
        if match and (stat.S_ISLNK(mode) if match[1] == "best" else stat.S_ISREG(mode)):
            path.unlink()
    for kind, remove_one in (("tmp", discard), ("trash", empty_trash)):
        for _, path in hidden(folder, kind):
            if stat.S_ISDIR(path.lstat().st_mode):
                remove_one(path)
    for step, path in hidden(folder, "replaced"):
        wanted = checkpoint_path(folder, step)
        if ours(path) is None:
            continue
        if not os.path.lexists(wanted):
            path.rename(wanted)
            fsync_folder(folder)
        elif (successor := ours(wanted)) is not None and is_sound(successor):
            remove(path)


def trial_place(folder: Path) -> Path:
    """Return a hidden place in which a checkpoint may be written to see that the disk takes one; `discard` removes it.

    Args:
        folder: Where the checkpoints of a fit lie.
    """
    return folder / f".tmp-0-{uuid.uuid4().hex}"


def discard(place: Path) -> None:
    """Remove an unfinished folder of ours as far as possible, and the checkpoints of ours that were tried in it."""
    with suppress(OSError):
        for path in scan(place):
            if ours(path) is not None:
                remove(path)
        for kind, remove_one in (("tmp", clear), ("trash", empty_trash)):
            for _, path in hidden(place, kind):
                if stat.S_ISDIR(path.lstat().st_mode):
                    remove_one(path)
    clear(place)
