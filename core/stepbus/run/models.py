"""The models of a run: one for each fit of its plan, and each the one that its fit wrote."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from stepbus.base import ModelError
from stepbus.run import ledger
from stepbus.run.files import CHECKPOINTS, FITS, MODEL, RUN_FILE
from stepbus.run.folders import read_run
from stepbus.run.keeping import is_of_before
from stepbus.storage import DESCRIPTION, from_json

log = logging.getLogger(__name__)


def is_run(folder: Path) -> bool:
    """Whether a folder says that it is a run's."""
    return os.path.lexists(folder / RUN_FILE)


def fits_of(run: Path) -> dict[str, Path]:
    """Return the folders of the fits of a run, by name, auxiliary ones left out.

    Args:
        run: The run's folder.

    Raises:
        CheckpointError: The run file is damaged.
    """
    names = [fit["name"] for fit in read_run(run)["facts"]["fits"] if not fit.get("auxiliary")]
    return {name: run if is_of_before(run, names) else run / FITS / name for name in names}


def models_of(run: Path) -> dict[str, Path]:
    """Return the model folders of a run, by the name of their fit, auxiliary ones left out; "" for that of one alone.

    The plan in the run file says which they are: what an earlier plan left in the folder is none of them.

    Args:
        run: The run's folder.

    Raises:
        ModelError: A fit is not done, or its model is not the one that it wrote.
        CheckpointError: The run file, or the entry of a fit, is damaged.
    """
    said, places = read_run(run), fits_of(run)
    names, alone = list(places), len(places) == 1
    done, unfinished = {}, []
    for name, place in places.items():
        kept = ledger.kept_model(place, name, said["id"])
        if not os.path.lexists(place / MODEL / DESCRIPTION):
            unfinished.append(name)
        elif kept is None:  # killed before its end, or it goes on from where it was done
            unfinished += [] if alone else [name]
        elif kept != _digest(place / MODEL):
            raise ModelError(
                f"{place / MODEL}: expected the model that {name} of {run} wrote, got another one; name the folder "
                f"itself to take it as it is, or remove it and {place / ledger.RESULT} and say `stepbus train … "
                f"--resume {run}`"
            )
        elif kept is not None:
            done[name] = place / MODEL
    go_on = f"go on with `stepbus train … --resume {run}`"
    if unfinished and alone:
        inside = places[names[0]] / CHECKPOINTS
        raise ModelError(f"{run}: this run has no model yet; {go_on}, or name a checkpoint in {inside}")
    if unfinished:
        instead = f", or name one of {', '.join(map(str, done.values()))}" if done else ""
        raise ModelError(
            f"{run}: this run has {len(names)} fits, and no model of {', '.join(unfinished)} yet; {go_on}{instead}"
        )
    if alone:
        if not done:
            log.warning("%s: this run is not done, and its model may be from before it went on; %s", run, go_on)
        return {"": places[names[0]] / MODEL}
    return done


def _digest(folder: Path) -> object:
    """Return the digest that a model's folder claims; opening it finds out whether that is true."""
    try:
        return from_json((folder / DESCRIPTION).read_bytes())["digest"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
