"""Checkpoints that somebody writes and reads by hand, between two runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.base import CheckpointError
from stepbus.fit import persistence, put_tensors
from stepbus.fit.seen import lineage_in, put_lineage
from stepbus.storage import AVERAGED, DESCRIPTION, checkpoints, from_json, is_averaged, to_json

if TYPE_CHECKING:
    from stepbus.fit import FitSession


def save_by_hand(session: FitSession, folder: Path | None = None, *, optimizer: bool = True) -> Path:
    """Write a checkpoint of a fit that has ended, and return its folder.

    Args:
        session: The fit.
        folder: Where; none takes the fit's own.
        optimizer: Keep the optimizer's state.

    Raises:
        CheckpointError: The fit's own folder would get weights under the number of a step that they are not of; or what
            was named is no folder.
    """
    if folder is not None and folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder}: expected a folder to write the checkpoint in, got a file; name another place")
    if folder is None and (why := session.not_of_step):
        raise CheckpointError(
            f"{persistence.checkpoint_folder(session)}: the present weights are not those of step "
            f"{session.state.step} of its run, because {why}; name another folder to save them in"
        )
    return persistence.save(session, folder, optimizer=optimizer)


def named_checkpoint(place: Path) -> Path:
    """Return the checkpoint that a path means: itself, or the newest one in it.

    Raises:
        CheckpointError: There is none.
    """
    if checkpoints.step_of(place.name) is not None:
        return place
    found = checkpoints.scan(place)
    if not found:
        raise CheckpointError(f"{place}: expected a checkpoint or a folder of some, found none")
    return found[-1]


def load_weights(session: FitSession | None, model: Any, path: Path, *, optimizer: bool = True) -> None:
    """Put the weights of a checkpoint into a model.

    Args:
        session: The fit that the model comes from, if there was one.
        model: The model.
        path: The checkpoint's folder.
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
    was: Any = checkpoints.read_document(checkpoint, DESCRIPTION)
    labels = _labels(was.get("encoder") if isinstance(was, dict) else None)
    task = getattr(model, "task", None)
    if session is None and task is not None and isinstance(labels, dict) and labels.get("task") != task:
        raise CheckpointError(
            f"{path}: expected a checkpoint of a {task} model, got one of a {labels.get('task')} model; "
            f'create_model(head_type="{labels.get("task")}", …) makes a model that it suits'
        )
    if session is not None and labels != _labels(session.builder.exported(session).state):
        raise CheckpointError(
            f"{path}: expected the labels of this trainer's model, got those of another one, for which its head was "
            "trained; open_trainer(PATH) opens it as it is"
        )
    # A training that goes on from there puts its own weights back; until then these are evaluated and predict.
    file = AVERAGED if is_averaged(path) else "model.safetensors"
    arrays = checkpoints.read_arrays(checkpoint, file.removesuffix(".safetensors"))
    put_tensors(model, arrays, source=str(path / file), strict=True)
    put_lineage(model, lineage_in(path))


def _labels(state: Any) -> Any:
    """Return what the state of a model's data says of labels, as JSON gives it back."""
    return from_json(to_json(state["labels"])) if isinstance(state, Mapping) and "labels" in state else None
