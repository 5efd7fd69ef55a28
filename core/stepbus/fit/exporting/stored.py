"""The tensors of a checkpoint: those to use, and those that training goes on with where they are others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepbus.base import CheckpointError
from stepbus.fit import tensors_of
from stepbus.fit.exporting.unwrapping import exported_tensors, plain_of

if TYPE_CHECKING:
    from stepbus.fit import Fitting

TRAINING = "training"  # the stem of the file
TRAINING_FILE: str = f"{TRAINING}.safetensors"


def stored_tensors(session: Fitting) -> dict[str, dict[str, Any]]:
    """Return what a checkpoint holds of a model, by the stem of its file.

    `model` is the model as it was before plugins changed it, which every reader of the folder understands; `training`
    has the tensors of the present one that differ, so that a resume is exact.

    Args:
        session: The fit.
    """
    own = tensors_of(session.model)
    found = exported_tensors(session, own)
    other = {name: array for name, array in own.items() if found.get(name) is not array}
    return {"model": found} | ({TRAINING: other} if other else {})


def check_export(session: Fitting) -> None:
    """Refuse before the first update what could not be exported after the last, and note how large it is.

    Args:
        session: The fit, its model in place.
    """
    stored = stored_tensors(session)  # those of a scripted fit are plain numbers
    session.origin.stored = {
        stem: {name: getattr(array, "nbytes", 0) for name, array in arrays.items()} for stem, arrays in stored.items()
    }


def training_tensors(
    session: Fitting, model: Mapping[str, Any], training: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """Return the tensors of the model that a fit trains, of what a checkpoint holds.

    Args:
        session: The fit that goes on.
        model: The tensors to use.
        training: Those that training goes on with where they are others.
        source: The checkpoint, for messages.

    Raises:
        CheckpointError: Plugins make another model of it than when it was written.
    """
    own, plain = tensors_of(session.model), tensors_of(plain_of(session))
    mend = f"switch on what the run began with, or begin anew from the weights alone: model.pretrained: {source}"
    if strange := sorted(training.keys() - own.keys()):
        raise CheckpointError(
            f"{source}: expected a model without {strange[0]!r}, got one that plugins had changed; {mend}"
        )
    if missing := sorted(own.keys() - plain.keys() - training.keys()):
        raise CheckpointError(
            f"{source}: expected {missing[0]!r}, which plugins put into the model, got a checkpoint without; {mend}"
        )
    return {name: array for name, array in model.items() if name in own or name not in plain} | dict(training)
