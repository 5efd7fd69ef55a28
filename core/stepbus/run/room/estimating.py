"""How much a run will take on disk: the bytes of its files, each counted once however many names it has.

It depends on the training how much: where the best evaluation is the last, the newest checkpoint is the best one as
well. So both figures, at most and when all is done, are told from and to. Where the file system has no hard links, the
same weights lie twice at the end.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from stepbus.base import Retention
from stepbus.run.room.beside import Beside, Tensors, beside
from stepbus.run.room.course import Sizes, moments, play

if TYPE_CHECKING:
    from stepbus.fit import Exported, FitSession

# What the head of a safetensors file says of a tensor beside its name, and what a file has in any case.
_OF_A_TENSOR, _OF_A_FILE = 72, 60


@frozen
class DiskEstimate:
    """The disk of a run, in bytes.

    Args:
        model: The exported model of a fit.
        checkpoint: One whole checkpoint, with the best weights where they are kept beside it.
        most_least: The most at one time, where each evaluation is better than the one before.
        most: The most at one time, whichever is the best.
        end_least: What is left when all fits are done, if that takes least.
        end: What is left at most.
        free: What the file system of the run's folder has left now; None where it does not say.
    """

    model: int
    checkpoint: int
    most_least: int
    most: int
    end_least: int
    end: int
    free: int | None


def tensor_file(sizes: Mapping[str, int]) -> int:
    """Return the bytes of a safetensors file.

    Args:
        sizes: Name of each tensor -> its bytes.
    """
    return sum(sizes.values()) + sum(len(name) + _OF_A_TENSOR for name in sizes) + _OF_A_FILE


def estimate(session: FitSession, exported: Exported, tensors: Tensors, fits: int) -> DiskEstimate:
    """Return what a run takes, none of whose fits has begun.

    Args:
        session: The first fit that predicts for the run, its data prepared; it need not have a model.
        exported: What its model's folder holds beside weights.
        tensors: The files of tensors.
        fits: How many fits there are.
    """
    keep: Any = session.hook.checkpoint_retention(trainer=session)
    saves = session.bus.may_ask("checkpoint")
    found = beside(session, exported, tensors)
    return put_together(
        tensors,
        found,
        keep or Retention(),
        (session.state.total_steps, session.state.steps_per_epoch, evaluations_of(session)) if saves else None,
        fits,
        session.run.directory,
    )


def put_together(
    tensors: Tensors,
    files: Beside,
    keep: Retention,
    course: tuple[int, int, int | str | None] | None,
    fits: int,
    folder: Path,
) -> DiskEstimate:
    """Return the estimate of its parts.

    Args:
        tensors: The files of tensors.
        files: The other files.
        keep: Which checkpoints stay.
        course: Updates, those of an epoch, and between evaluations (or "epoch", or None); None where nobody asks for
            checkpoints.
        fits: How many fits there are.
        folder: The run's folder, which need not be there yet.
    """
    sizes = Sizes(
        tensors.weights,
        tensors.optimizer,
        tensors.keeps_best,
        tensors.averages,
        files.checkpoint,
        files.to_use,
        files.model + files.done,
        tensors.training,
        tensors.best,
    )
    enough = (keep.last or 2) + max(keep.best, 1) + 4
    when = [] if course is None else moments(course[0], course[1], keep.every, course[2], enough)
    (most_least, most), (end_least, end) = play(when, keep, sizes)
    around = files.run + fits * files.fit
    best = (tensors.weights if tensors.best is None else tensors.best) if tensors.keeps_best else 0
    whole = tensors.weights * (1 + tensors.averages) + tensors.training + best + tensors.optimizer + files.checkpoint
    return DiskEstimate(
        tensors.weights + files.model,
        whole,
        (fits - 1) * end_least + most_least + around,
        (fits - 1) * end + most + around,
        fits * end_least + around,
        fits * end + around,
        free_at(folder),
    )


def evaluations_of(session: FitSession) -> int | str | None:
    """Return how many updates lie between evaluations that may find the best: a number, "epoch", or None."""
    training = session.config.training
    if session.fit.monitored is None or training.eval_strategy == "no":
        return "epoch" if session.monitor.startswith("train_") else None
    return training.eval_steps if training.eval_strategy == "steps" else "epoch"


def free_at(folder: Path) -> int | None:
    """Return the bytes that are free where a folder lies or will lie; None where the system does not say."""
    place = folder.absolute()
    while not place.is_dir() and place != place.parent:
        place = place.parent
    with suppress(OSError):
        return shutil.disk_usage(place).free
    return None


def too_little(most: int, free: int | None, folder: Path) -> str:
    """Return what to say where the disk has less than a run may take; "" where it has enough, or does not say.

    Args:
        most: What the run takes at most from now on.
        free: What is free.
        folder: The run's folder.
    """
    if free is None or most <= free:
        return ""
    return (
        f"the run may take up to {_in_words(most)} on disk, and that of {folder} has {_in_words(free)} free; make "
        "room, or set environment.output_dir to a folder on another one"
    )


def _in_words(number: int) -> str:
    return f"{number / 1e6:,.0f} MB" if number >= 10e6 else f"{number / 1e6:,.2f} MB"
