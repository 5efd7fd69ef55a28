"""Which checkpoint a resume takes, and which ones stay."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from attrs import evolve

from stepbus.base import CheckpointError, Retention, listed, remedy_of
from stepbus.storage import fsync_folder
from stepbus.storage.checkpoints.hints import follow, forget
from stepbus.storage.checkpoints.removal import Emptying, ours, remove
from stepbus.storage.checkpoints.sweeping import hidden, sweep
from stepbus.storage.checkpoints.thinning import Thinning, thin
from stepbus.storage.checkpoints.verification import (
    Checkpoint,
    checkpoint_path,
    is_sound,
    remember,
    scan,
    step_of,
    verify,
)


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
    candidates += [(step, False, path) for step, path in hidden(folder, "replaced")]
    damaged: list[tuple[int, Path, CheckpointError]] = []
    partial: list[Checkpoint] = []
    for step, _, path in sorted(candidates, reverse=True):
        try:
            checkpoint = verify(path)
        except CheckpointError as error:
            damaged.append((step, path, error))
            continue
        if not checkpoint.lacks:
            break
        partial.append(checkpoint)
    else:
        if partial and not damaged:
            raise CheckpointError(f"{folder}: no checkpoint is left to go on from: {without(partial[0])}")
        if damaged or (set_aside_before := hidden(folder, "quarantine")):
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
        if os.path.lexists(wanted):  # what was thinned of it, by a process that was killed before it removed the rest
            remove(wanted)
        checkpoint.path.rename(wanted)
        checkpoint = evolve(checkpoint, path=wanted)
        remember(checkpoint)
    if damaged or candidates:
        fsync_folder(folder)
    return checkpoint


def without(checkpoint: Checkpoint) -> str:
    """Return in words what a checkpoint lacks that is there to be used only."""
    return (
        f"{checkpoint.path.name} has only what its use needs, and lacks {listed(checkpoint.lacks)} (open_trainer opens "
        "it, and model.pretrained begins a new run with its weights)"
    )


def _rename(path: Path, kind: str, step: int) -> Path:
    try:
        return path.rename(path.with_name(f".{kind}-step-{step:08d}-{uuid.uuid4().hex}"))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be set aside ({error.strerror}); {remedy_of(error)}") from error


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
    folder: Path,
    keep: Retention,
    best: Sequence[int] = (),
    say: Callable[[str], None] = lambda text: None,
    *,
    thinning: Thinning | None = None,
    finished: bool = False,
    empty: Emptying | None = None,
) -> list[Path]:
    """Remove the checkpoints that have no role left, thin those that are only to be used, and sweep.

    Only ones that verify count, so two sound and whole ones and the best always stay while a fit runs. What does not
    prove to be ours is left alone.

    Args:
        folder: Where checkpoints lie; the caller holds its lock, so no other writer is alive.
        keep: How many stay.
        best: Steps by the monitored metric, the best first; those without a checkpoint are passed over.
        say: Takes one sentence for each checkpoint that was found damaged.
        thinning: What stays of a checkpoint that is only to be used; None leaves it whole.
        finished: Whether the fit is done, its result durable: then nothing stays that `keep` does not name, and the
            folder goes with its last checkpoint.
        empty: What removes the files of a checkpoint whose name is gone; None does it now.

    Returns:
        The checkpoints that were removed.

    Raises:
        CheckpointError: The file system refuses.
    """
    try:
        sweep(folder)
        known = {path: checkpoint for path in scan(folder) if (checkpoint := ours(path)) is not None}
        roles = _Roles(known, say)
        pinned = {path for path, checkpoint in known.items() if checkpoint.pinned}
        newest = [path for path in reversed(known) if not known[path].lacks]
        ranked = [path for step in best if (path := checkpoint_path(folder, step)) in known]
        least = 1 if finished else 2
        to_use = roles.take(ranked, keep.best if finished else max(keep.best, 1), pinned)
        if keep.last is None:
            whole = roles.take(newest, least, pinned)
        else:
            whole = roles.take(newest, keep.last if finished else max(keep.last, least), pinned | to_use)
            # The best among the newest stay whole as well: a resume takes the newest, which may be the only one.
            whole |= to_use & roles.take(newest, least if keep.last or not finished else 0)
        kept = pinned | to_use | whole
        leaving = [path for path in known if path not in kept | roles.damaged]
        for path in leaving:
            remove(path, empty)
        if thinning is not None and not keep.whole:
            for path in sorted(to_use - whole - pinned):
                thin(known[path], thinning, empty)
        follow(folder, next((path for path in ranked if path in kept), None))
        if finished and not kept | roles.damaged:
            forget(folder)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: cannot remove old checkpoints ({error.strerror or error}); {remedy_of(error)}"
        ) from error
    return leaving


class _Roles:
    """Gives out roles to checkpoints that are sound, and says which are not."""

    def __init__(self, known: dict[Path, Checkpoint], say: Callable[[str], None]) -> None:
        self.known, self.say, self.damaged = known, say, set[Path]()

    def take(self, order: Iterable[Path], count: int, apart: Iterable[Path] = ()) -> set[Path]:
        """Return the first sound ones of an order, as many as asked for, without those of other roles."""
        taken: set[Path] = set()
        passed = set(apart)
        for path in order:
            if len(taken) >= count:
                break
            if path in passed or path in self.damaged:
                continue
            if is_sound(self.known[path]):
                taken.add(path)
            else:
                self.damaged.add(path)
                self.say(
                    f"{path}: damaged since it was written; left in place, and no longer counted as one that stays"
                )
        return taken
