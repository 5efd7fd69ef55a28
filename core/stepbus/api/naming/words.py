"""Checkpoints by a word: `best`, `last`."""

from __future__ import annotations

from pathlib import Path

from stepbus.base import BadInput, ModelError, did_you_mean, listed, show_python
from stepbus.run import CHECKPOINTS, fits_of, is_run
from stepbus.storage import checkpoints

WORDS = ("best", "last")


def checkpoint_of(path: Path, which: str) -> Path:
    """Return a checkpoint of a fit by its word: `best` by the monitored metric, or `last`, the newest.

    Args:
        path: The folder of a run with one fit, or that of a fit.
        which: The word.

    Raises:
        BadInput: Another word.
        ModelError: There is no such checkpoint, or the path says nothing of one fit.
    """
    if which not in WORDS:
        near = did_you_mean(which, WORDS) if isinstance(which, str) else ""
        raise BadInput(
            f'which: expected "best" or "last", got {show_python(which)}{near}; without it, the model that was '
            "exported is opened"
        )
    fits = fits_of(path) if is_run(path) else {"": path}
    if len(fits) > 1:
        raise ModelError(
            f"{path}: this run has {len(fits)} fits, each with checkpoints of its own; name the folder of one, such as "
            f"{next(iter(fits.values()))}"
        )
    (fit,) = fits.values()
    folder = fit / CHECKPOINTS
    found = checkpoints.scan(folder)
    if not found:
        raise ModelError(
            f"{folder}: there is no checkpoint to open as {show_python(which)}: none was saved, or none was kept when "
            "the fit was done; name the run, or the fit, without this word to open the model that was exported"
        )
    place = found[-1] if which == "last" else checkpoints.best_of(folder)
    if place is None:
        raise ModelError(
            f"{folder}: no evaluation says which checkpoint is the best; there are "
            f'{listed(path.name for path in found)}, and "last" opens the newest'
        )
    return place
