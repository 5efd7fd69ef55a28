"""Fits that are done: what stays of their checkpoints, and whether they have more to do."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.base import CheckpointError, Retention, counted, listed
from stepbus.base.showing import short_path
from stepbus.fit.saving import ranked, to_use
from stepbus.run import ledger
from stepbus.storage import DESCRIPTION, checkpoints

if TYPE_CHECKING:
    from stepbus.fit import FitSession
    from stepbus.kernel import Fit, FitResult, Run

CHECKPOINTS, WEIGHTS = "checkpoints", "model.safetensors"


def staying(session: FitSession) -> dict[str, Any] | None:
    """Return what shall stay of the checkpoints of a fit that is done, for its entry in the ledger; None: all of them.

    Args:
        session: The fit.
    """
    wanted = session.hook.checkpoint_retention(trainer=session)
    if wanted is None or wanted.finished is None:
        return None
    done: Retention = wanted.finished
    return {"last": done.last, "best": done.best, "whole": done.whole, "ranked": ranked(session)}


def free(directory: Path, stays: Mapping[str, Any] | None, say: Callable[[str], None] = lambda text: None) -> None:
    """Remove the checkpoints of a finished fit that need not stay; those that do share their bytes with its model.

    Its entry in the ledger is durable: a kill on the way has the next run do the rest.

    Args:
        directory: The fit's folder; the caller holds the lock of the run.
        stays: What `staying` returned.
        say: Takes one sentence for each checkpoint that was found damaged.

    Raises:
        CheckpointError: The file system refuses.
        OSError: The same.
    """
    folder = directory / CHECKPOINTS
    if stays is None or not _is_folder(folder):
        return
    keep = Retention(stays["last"], stays["best"], stays["whole"])
    checkpoints.retire(folder, keep, stays["ranked"], say, thinning=to_use, finished=True)
    weights = directory / "model" / WEIGHTS
    if os.path.lexists(weights):
        checkpoints.share_files(folder, weights)


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def refuse_partial(named: Path) -> None:
    """Refuse to go on from a checkpoint that is there to be used only.

    Args:
        named: A checkpoint of a run; one that is damaged is refused where it is read.

    Raises:
        CheckpointError: It lacks what going on needs; the whole ones beside it are named.
    """
    try:
        checkpoint = checkpoints.read_manifest(named)
        beside = [path for path in checkpoints.scan(named.parent) if not checkpoints.read_manifest(path).lacks]
    except CheckpointError:
        return
    if checkpoint.lacks:
        whole = f"; whole are {listed(path.name for path in beside)} beside it" if beside else ""
        raise CheckpointError(
            f"{named}: expected a whole checkpoint to go on from, and {checkpoints.without(checkpoint)}{whole}"
        )


def without_run(folder: Path) -> str:
    """Return what to do with a folder of weights that is no part of a run's course; "" of any other one.

    Args:
        folder: What a user named to go on from.
    """
    found = checkpoints.scan(folder)
    if found or checkpoints.step_of(folder.name) is not None:
        place = found[-1] if found else folder
        return (
            f"; a checkpoint that was saved by hand is no part of a run: trainer.load_checkpoint({str(place)!r}) and "
            f"train go on from it in Python, and model.pretrained: {place} starts from its weights"
        )
    if os.path.lexists(folder / DESCRIPTION):
        return f"; an exported model keeps nothing of a training: model.pretrained: {folder} starts from its weights"
    return ""


def reopen(run: Run, begun: Fit) -> None:
    """Take back that a fit which goes on is done, and that the later ones are: they are asked for more as well.

    A kill from here on finds them unfinished, each to go on from its last checkpoint; nobody takes its old model, or
    one whose entry was not written yet, for what the run is now.

    Raises:
        OSError: The file system refuses.
    """
    if not ledger.is_kept(run.directory_of(begun)):
        return
    for fit in run.fits[run.fits.index(begun) :]:
        directory = run.directory_of(fit)
        known = ledger.read(directory, fit, run.id)
        # One that was stopped stays so, and one without a checkpoint would begin anew: each is asked in its turn.
        if known is not None and known.status == "ok" and checkpoints.scan(directory / CHECKPOINTS):
            ledger.take_back(directory)


def goes_on(run: Run, session: FitSession, known: FitResult) -> bool:
    """Say whether a finished fit has more to do, because the epochs or steps were raised and that was allowed.

    Raises:
        CheckpointError: It has, and no checkpoint is left to go on from.
    """
    total = session.state.total_steps
    if total <= known.steps:
        return False
    if known.status == "stopped":
        more = f"to the {total:,} updates that are planned now" if run.alone else f"to {total:,} updates"
        weights = "" if known.model_path is None else f" with model.pretrained: {short_path(known.model_path)}"
        known.unmet = f"does not train on {more}, for a stop stays; to go on from its weights, start a new run{weights}"
        run.message(f"{known.fit.name} was stopped by {known.reason}, and {known.unmet}", "warning")
        return False
    folder = run.directory_of(known.fit) / CHECKPOINTS
    if not checkpoints.scan(folder):
        wanted = session.hook.checkpoint_retention(trainer=session)
        advice = f" ({wanted.advice})" if wanted is not None and wanted.advice else ""
        raise CheckpointError(
            f"{folder}: expected a checkpoint to go on from, since {total:,} updates are planned and {known.steps:,} "
            f"done, got none{advice}; start a new run from the finished weights with model.pretrained: "
            f"{known.model_path}"
        )
    run.message(f"{known.fit.name} was done after {counted(known.steps, 'update')}, and goes on to {total:,}")
    return True
