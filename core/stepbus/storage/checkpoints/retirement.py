"""Which checkpoint a resume takes, and which ones stay."""

from __future__ import annotations

import re
import stat
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import evolve

from stepbus.base import CheckpointError, Retention
from stepbus.storage import fsync_folder
from stepbus.storage.checkpoints.removal import clear, empty_trash, ours, remove
from stepbus.storage.checkpoints.verification import (
    Checkpoint,
    checkpoint_path,
    is_sound,
    remember,
    scan,
    step_of,
    verify,
)

_ID = "[0-9a-f]{32}"
_HIDDEN = re.compile(rf"\.(tmp|(?:replaced|trash|quarantine)-step)-([0-9]+)-{_ID}")
_HINT = re.compile(rf"\.tmp-{_ID}-(LATEST|BEST)")


def _hidden(folder: Path, kind: str) -> list[tuple[int, Path]]:
    """Return our hidden entries of one kind (tmp, replaced, trash, quarantine) as (step, path)."""
    matches = [(_HIDDEN.fullmatch(path.name), path) for path in folder.iterdir()]
    return sorted((int(match[2]), path) for match, path in matches if match and match[1].partition("-")[0] == kind)


def latest_valid(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """Return the newest checkpoint that verifies; damaged newer ones are renamed to `.quarantine-…` and said so.

    Args:
        folder: Where checkpoints lie; the caller holds its lock.
        say: Takes one sentence for each checkpoint that was passed over.

    Returns:
        The checkpoint, or None where none was ever finished.

    Raises:
        CheckpointError: There are checkpoints, and none of them can be trusted.
    """
    if not folder.is_dir():
        return None
    # One that gave way to another of its step stands in for it, should that one be missing or damaged.
    candidates = [(step_of(path.name) or 0, True, path) for path in scan(folder)]
    candidates += [(step, False, path) for step, path in _hidden(folder, "replaced")]
    damaged: list[tuple[int, Path, CheckpointError]] = []
    for step, _, path in sorted(candidates, reverse=True):
        try:
            checkpoint = verify(path)
            break
        except CheckpointError as error:
            damaged.append((step, path, error))
    else:
        if damaged or (set_aside_before := _hidden(folder, "quarantine")):
            reasons = [str(error) for _, _, error in damaged] or [f"{path}: damaged" for _, path in set_aside_before]
            none = "the only checkpoint cannot" if len(reasons) == 1 else f"none of the {len(reasons)} checkpoints can"
            raise CheckpointError(
                f"{folder}: {none} be trusted, and starting from zero would hide "
                "it; put a good copy back, or start anew in another environment.output_dir:\n  " + "\n  ".join(reasons)
            )
        return None
    for step, path, reason in damaged:
        away = _rename(path, "quarantine", step)
        say(f"{reason}; set aside as {away.name}, the checkpoint of step {checkpoint.step} is taken")
    wanted = checkpoint_path(folder, checkpoint.step)
    if checkpoint.path != wanted:
        checkpoint.path.rename(wanted)
        checkpoint = evolve(checkpoint, path=wanted)
        remember(checkpoint)
    if damaged or candidates:
        fsync_folder(folder)
    return checkpoint


def _rename(path: Path, kind: str, step: int) -> Path:
    try:
        return path.rename(path.with_name(f".{kind}-step-{step:08d}-{uuid.uuid4().hex}"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be set aside ({error.strerror})") from error


def set_aside(folder: Path, after: int, say: Callable[[str], None]) -> None:
    """Rename checkpoints later than the one that a run was told to resume from to `.superseded-…`.

    Otherwise the next resume would take them for the newest of the new course, and retirement would keep them in place
    of it.

    Args:
        folder: Where checkpoints lie; the caller holds its lock.
        after: The step that the run resumes from.
        say: Takes one sentence for each.
    """
    for path in scan(folder):
        step = step_of(path.name) or 0
        if step > after:
            away = _rename(path, "superseded", step)
            say(f"{path}: later than step {after}, which the run resumes from; set aside as {away.name}")
    fsync_folder(folder)


def retire(
    folder: Path, keep: Retention, best: Sequence[int] = (), say: Callable[[str], None] = lambda text: None
) -> list[Path]:
    """Remove the checkpoints that have no role left, and what dead writers left behind.

    Pinned, best and last are disjoint: a checkpoint has the first of them that it qualifies for. Only ones that verify
    count, so two sound ones and the best always stay. What does not prove to be ours is left alone.

    Args:
        folder: Where checkpoints lie; the caller holds its lock, so no other writer is alive.
        keep: How many stay.
        best: Steps by the monitored metric, the best first; those without a checkpoint are passed over.
        say: Takes one sentence for each checkpoint that was found damaged.

    Returns:
        The checkpoints that were removed.

    Raises:
        CheckpointError: The file system refuses.
    """
    try:
        sweep(folder)
        known = {path: checkpoint for path in scan(folder) if (checkpoint := ours(path)) is not None}
        newest_first = list(reversed(known))
        kept = {path for path, checkpoint in known.items() if checkpoint.pinned}
        damaged: set[Path] = set()
        by_rank = [path for step in best if (path := checkpoint_path(folder, step)) in known]
        for order, count in ((by_rank, max(keep.best, 1)), (newest_first, max(keep.last, 2))):
            for path in order:
                if count == 0:
                    break
                if path in kept or path in damaged:
                    continue
                if is_sound(known[path]):
                    kept.add(path)
                    count -= 1
                else:
                    damaged.add(path)
                    say(f"{path}: damaged since it was written; left in place, and no longer counted as one that stays")
        leaving = [path for path in known if path not in kept | damaged]
        for path in leaving:
            remove(path)
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot remove old checkpoints ({error.strerror or error})") from error
    return leaving


def sweep(folder: Path) -> None:
    """Remove what a killed writer left; what does not prove to be ours is left alone, and no link is followed.

    Args:
        folder: Where checkpoints lie; the caller holds its lock, so no other writer is alive.

    Raises:
        OSError: The file system refuses.
    """
    for path in folder.iterdir():
        if _HINT.fullmatch(path.name) and stat.S_ISREG(path.lstat().st_mode):
            path.unlink()
    for kind, remove_one in (("tmp", clear), ("trash", empty_trash)):
        for _, path in _hidden(folder, kind):
            if stat.S_ISDIR(path.lstat().st_mode):
                remove_one(path)
    for step, path in _hidden(folder, "replaced"):
        successor = ours(checkpoint_path(folder, step))
        if successor is not None and is_sound(successor) and ours(path) is not None:
            remove(path)
