"""Which checkpoint is the best, for people and for `open_trainer(RUN, "best")`: `BEST`, and the link `best` beside it.

The link is relative and leads to the folder that `BEST` names. Where links do not work, or a file system takes both
names for one (macOS's usual one does), there is `BEST` alone. Nothing here follows a link.
"""

from __future__ import annotations

import os
import stat
import uuid
from contextlib import suppress
from pathlib import Path

from stepbus.base import CheckpointError, read_file, remedy_of
from stepbus.storage import fsync_folder, write_text_atomically
from stepbus.storage.checkpoints.verification import checkpoint_path, step_of

BEST, LINK, LATEST = "BEST", "best", "LATEST"
_MOST = 100  # bytes of a step's name


def mark_best(folder: Path, step: int) -> None:
    """Leave a hint in `BEST` which checkpoint is the best, and a link to it.

    Args:
        folder: Where checkpoints lie; the caller holds its lock.
        step: The step of the best one.

    Raises:
        CheckpointError: The file system refuses.
    """
    name = checkpoint_path(folder, step).name
    try:
        write_text_atomically(folder / BEST, f"{name}\n")
        _link(folder / LINK, name)
    except OSError as error:
        raise CheckpointError(f"{folder / BEST}: cannot be written ({error.strerror}); {remedy_of(error)}") from error


def best_of(folder: Path) -> Path | None:
    """Return the checkpoint that `BEST` names, unverified; None where it names none that is there."""
    return _named(folder / BEST)


def written_last(folder: Path) -> Path | None:
    """Return the checkpoint that `LATEST` names, unverified: one of fewer updates may be written after others."""
    return _named(folder / LATEST)


def _named(hint: Path) -> Path | None:
    try:
        name = read_file(hint, CheckpointError, _MOST, links=False).decode("ascii").removesuffix("\n")
    except (OSError, ValueError, CheckpointError):
        return None
    place = hint.parent / name
    return place if step_of(name) is not None and os.path.lexists(place) else None


def follow(folder: Path, best: Path | None) -> None:
    """Let the hints that are there name what is there: another best one, or none.

    Args:
        folder: Where checkpoints lie; the caller holds its lock.
        best: The best checkpoint that stays; None where none does.

    Raises:
        CheckpointError: The file system refuses.
        OSError: The same.
    """
    if not os.path.lexists(folder / BEST):
        return
    if best is not None and best_of(folder) != best:
        mark_best(folder, step_of(best.name) or 0)
    elif best_of(folder) is None:
        _forget(folder, BEST)


def forget(folder: Path) -> None:
    """Remove the hints and the folder, where no checkpoint of ours is left in it; what is somebody's own stays.

    Raises:
        OSError: The file system refuses.
    """
    _forget(folder, LATEST, BEST)
    with suppress(OSError):  # somebody put something there
        folder.rmdir()


def _forget(folder: Path, *names: str) -> None:
    for name in names:
        if os.path.lexists(folder / name) and stat.S_ISREG((folder / name).lstat().st_mode):
            (folder / name).unlink()
    if _is_ours(folder / LINK):
        (folder / LINK).unlink()


def _link(link: Path, name: str) -> None:
    """Let a link lead to a checkpoint beside it, unless something of somebody else's has its name."""
    if os.path.lexists(link) and not _is_ours(link):
        return
    if link.is_symlink() and link.readlink() == Path(name):
        return
    beside = link.with_name(f".tmp-{uuid.uuid4().hex}-{LINK}")
    try:
        beside.symlink_to(name, target_is_directory=True)
    except (OSError, NotImplementedError):
        # A link of before would lead elsewhere than `BEST`.
        link.unlink(missing_ok=True)
        return
    beside.replace(link)
    fsync_folder(link.parent)


def _is_ours(link: Path) -> bool:
    """Say whether something is a link as we make it: relative, to a checkpoint's folder beside it."""
    return link.is_symlink() and step_of(str(link.readlink())) is not None
