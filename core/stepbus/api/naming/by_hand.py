"""Checkpoints that somebody writes and reads by hand, between two runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.api import Models
from stepbus.base import CheckpointError
from stepbus.fit import persistence, put_tensors
from stepbus.fit.computing import spoiled
from stepbus.fit.opened import Predictor, open_model
from stepbus.fit.saving import BY_HAND, NONE_TO_GO_ON_FROM, check_suits, labels_of, note_loaded, other_reading
from stepbus.fit.seen import lineage_in, put_lineage
from stepbus.run import CHECKPOINTS, fits_of, is_run
from stepbus.storage import AVERAGED, DESCRIPTION, checkpoints, is_averaged
from stepbus.text import TextData

if TYPE_CHECKING:
    from stepbus.fit import FitSession

log = logging.getLogger(__name__)


def save_by_hand(session: FitSession, folder: Path | None = None, *, optimizer: bool = True) -> Path:
    """Write a checkpoint of a fit that has ended, and return its folder.

    Args:
        session: The fit.
        folder: Where; none takes the fit's own. There, weights that are not those of the fit's last step, and what has
            no optimizer's state, lie in `by-hand`, from where nothing resumes by itself.
        optimizer: Keep the optimizer's state.

    Raises:
        CheckpointError: What was named is no folder, or it cannot be written.
    """
    if folder is not None and folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder}: expected a folder to write the checkpoint in, got a file; name another place")
    own = persistence.checkpoint_folder(session)
    if folder is not None and folder.resolve() == own.resolve():
        folder = None
    if words := spoiled(session):
        session.message(NONE_TO_GO_ON_FROM.format(words), "warning")
    if folder is None and (session.not_of_step or words or not optimizer):
        folder = own / BY_HAND
    return session.disk.save(session, folder, optimizer=optimizer)


def named_checkpoint(place: Path) -> Path:
    """Return the checkpoint that a path means: itself, or the one written last in it; a link to it is followed.

    Raises:
        CheckpointError: There is none.
    """
    real = place.resolve()
    found = checkpoints.scan(real)
    if checkpoints.step_of(real.name) is not None and (not found or os.path.lexists(real / checkpoints.MANIFEST)):
        return real if place.is_symlink() else place
    if not found:
        raise CheckpointError(f"{place}: expected a checkpoint or a folder of some, {_what_is_there(real)}")
    return checkpoints.written_last(real) or found[-1]


def _what_is_there(folder: Path) -> str:
    """Return what a folder without checkpoints is, and how to use that."""
    if os.path.lexists(folder / DESCRIPTION):
        return (
            "got an exported model, which keeps nothing of a training; open_trainer(PATH) opens it, and "
            "create_model(pretrained=PATH) starts from its weights"
        )
    fits = fits_of(folder).values() if is_run(folder) else [folder]
    below = [each / CHECKPOINTS for each in fits if checkpoints.scan(each / CHECKPOINTS)]
    if below:
        return f"got a folder above them; name {'' if len(below) == 1 else 'that of a fit, such as '}{below[0]}"
    return "found none"


def load_weights(
    session: FitSession | None, model: Any, path: Path, data: Any = None, *, optimizer: bool = True
) -> None:
    """Put the weights of a checkpoint into a model.

    Args:
        session: The fit that the model comes from, if there was one.
        model: The model.
        path: The checkpoint's folder.
        data: What an opened model reads rows with, which knows its labels.
        optimizer: Whether the optimizer's state will be wanted as well.

    Raises:
        CheckpointError: It is damaged, of a model for other labels, or lacks the optimizer's state.
        ModelError: It is of another model.
    """
    checkpoint = checkpoints.verify(path)
    if optimizer and "optimizer.safetensors" not in checkpoint.files:
        raise CheckpointError(
            f"{path}: expected the optimizer's state, found none, since it was saved without; "
            "load_checkpoint(path, load_optimizer=False) takes the rest"
        )
    labels, task = labels_of(checkpoint), getattr(model, "task", None)
    if session is None and task is not None and isinstance(labels, dict) and labels.get("task") != task:
        raise CheckpointError(
            f"{path}: expected a checkpoint of a {task} model, got one of a {labels.get('task')} model; "
            f'create_model(head_type="{labels.get("task")}", …) makes a model that it suits'
        )
    state: Any = session.builder.exported(session).state if session is not None else None
    data = data if session is None else session.data
    check_suits(checkpoint, model, data, state)
    # A training that goes on from there puts its own weights back; until then these are evaluated and predict.
    file = AVERAGED if is_averaged(path) else "model.safetensors"
    arrays = checkpoints.read_arrays(checkpoint, file.removesuffix(".safetensors"))
    put_tensors(model, arrays, source=str(path / file), strict=True)
    if session is not None:
        note_loaded(session, checkpoint)
    put_lineage(model, lineage_in(path))
    if isinstance(data, TextData) and (words := other_reading(checkpoint, data.config.data, data.encoder)):
        log.warning("%s", words)


def reading_as(path: Path, model: Any, plugins: Sequence[Any]) -> Models:
    """Return what predicts with a model that has a checkpoint's weights: rows, labels and head are read as there.

    Args:
        path: The checkpoint's folder, which is opened once something is predicted.
        model: The model.
        plugins: What was passed to its trainer.
    """

    @cache
    def predictor() -> Predictor:
        return open_model(path, plugins=plugins, model=model).predictor

    return Models(lambda: iter([predictor()]))
