"""Opening what stepbus trained: a model's folder, a checkpoint, or a run with the models of all its fits."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stepbus.api.arguments import flag
from stepbus.api.fits import FitModels
from stepbus.api.naming import checkpoint_of
from stepbus.api.trainer import Trainer
from stepbus.base import ModelError, usable
from stepbus.fit.opened import open_model
from stepbus.run import PREDICT_FILE, RUN_FILE, is_run, models_of
from stepbus.run.opened import OpenedRun
from stepbus.storage import DESCRIPTION, checkpoints


def model_folders(path: Path) -> dict[str, Path]:
    """Return the model folders meant by a path, by the name of their fit.

    Args:
        path: A model's folder, a checkpoint, the folder of a fit, or that of a run.

    Raises:
        ModelError: Nothing there was written by stepbus, or a run is not done.
    """
    if not path.exists():
        raise ModelError(f"{path}: there is no such folder; `stepbus train` says at its end where the model lies")
    if os.path.lexists(path / DESCRIPTION):
        return {"": path}
    if is_run(path):
        return models_of(path)
    inside = path / "model" if (path / "model").is_dir() else path
    if not os.path.lexists(inside / DESCRIPTION):
        why = ""
        if (path / "fits").is_dir():
            why = f"; of a run, {RUN_FILE} is missing: bring it back from a copy, or name a model's folder in fits"
        elif found := checkpoints.scan(path):
            why = f"; there are checkpoints in it, of which {found[-1]} is the newest: name one"
        raise ModelError(f"{inside}: expected a folder that stepbus wrote, found no {DESCRIPTION} in it{why}")
    return {"": inside}


def open_trainer(
    path: str | Path,
    which: str | None = None,
    *,
    trust: bool = False,
    plugins: Sequence[Any] = (),
    **overrides: Any,
) -> Trainer:
    """Open a trained model, ready to evaluate and predict; of a run of several fits all of them.

    A model folder is data: opening imports the installed components that it names, and nothing else.

    Args:
        path: A run's folder, that of a fit, its `model`, or a checkpoint.
        which: Of a run's only fit, or of the fit whose folder is named: "best" opens the checkpoint whose evaluation
            was the best, "last" the newest; None opens the model that was exported.
        trust: Grant what else the folder asks for (files and modules to import, functions to call, folders to write
            to), because you know who wrote it; what that was is said as a warning.
        plugins: Classes and objects whose components the model was made with, where no package offers them.
        **overrides: Settings by name, such as `eval_batch_size=128`.

    Returns:
        A trainer whose model, labels and templates are those that were trained; of several models it gives what they
        predict together, and `fits` gives each.

    Raises:
        BadInput: `which` is another word.
        ModelError: There is no such model, it is damaged, or it asks for more than installed components.

    Example:
        >>> opened = open_trainer("runs")
        >>> opened.predict("dev.csv").argmax(axis=1)[:4]
        array([0, 1, 0, 1])
    """
    trust = flag(trust, "trust")
    plugins = tuple(plugins) if isinstance(plugins, Iterator) else plugins  # they are looked at more than once
    place = usable(path, ModelError)
    place = place if which is None else checkpoint_of(place, which)
    folders = model_folders(place)
    run: OpenedRun | None = None
    if is_run(place) and (len(folders) > 1 or os.path.lexists(place / PREDICT_FILE)):
        run = OpenedRun(place, trust=trust, plugins=plugins)
        if len(folders) > 1:
            fits = FitModels(folders, Trainer.of_model, plugins, trust=trust, overrides=overrides)
            return Trainer.of_fits(fits, run)
    (folder,) = folders.values()
    return Trainer.of_model(open_model(folder, trust=trust, plugins=plugins, overrides=overrides), plugins, run)


def open_run(path: str | Path, *, trust: bool = False, plugins: Sequence[Any] = (), **overrides: Any) -> Trainer:
    """Open a run: the models of all its fits and the plugins that put their predictions together.

    What it predicts is, to the last bit, what the run itself said of the same rows.

    Args:
        path: The run's folder.
        trust: As in `open_trainer`.
        plugins: Classes and objects that took part in the run and were passed in Python.
        **overrides: Settings by name.

    Raises:
        ModelError: It is no run, it is not done, damaged, or asks for more than installed plugins.

    Example:
        >>> open_run("runs").evaluate("dev.csv")["eval_accuracy"]
        1.0
    """
    trust, place = flag(trust, "trust"), usable(path, ModelError)
    if not is_run(place):
        raise ModelError(f"{place}: expected a run's folder, found no {RUN_FILE} in it; open_trainer opens a model")
    return open_trainer(place, trust=trust, plugins=plugins, **overrides)
