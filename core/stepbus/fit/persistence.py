"""What a fit leaves on disk: checkpoints to go on from, and a model folder to use; and both of them back again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx

from stepbus.base import (
    CheckpointError,
    Retention,
    fields_of,
    named,
    number,
    show,
    text,
    values_without_secrets,
)
from stepbus.compute import folders
from stepbus.compute.watching import note_masks
from stepbus.fit import best_weights, exporting
from stepbus.fit.builder import Exported
from stepbus.fit.computing import computing_facts
from stepbus.fit.members import plugin_table
from stepbus.fit.opened import prediction_tree
from stepbus.fit.plugins import restore_state, state_of
from stepbus.fit.predicting import STATES, fit_states
from stepbus.fit.saving import check_suits, ranked, to_use
from stepbus.fit.seen import BEFORE, before_in, lineage_in, packed, put_lineage
from stepbus.fit.switched_off import disabled_of, keep_disabled
from stepbus.fit.using import begin_averages, tensors_in_use
from stepbus.fit.weights import put_tensors, tensors_of
from stepbus.kernel import Control, TrainingState
from stepbus.storage import (
    AVERAGED,
    DESCRIPTION,
    FORMAT,
    LINEAGE,
    checkpoints,
    decode_state,
    encode_state,
    tensor_files,
)
from stepbus.storage.checkpoints import Checkpoint, Snapshot
from stepbus.storage.wheels import cache as wheel_cache

if TYPE_CHECKING:
    from stepbus.fit.builder import Fitting

_AVERAGED = AVERAGED.removesuffix(".safetensors")
_constants: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()
_PARTS = ("state", "control", "optimizer", "data", "plugins", "disabled")


def checkpoint_folder(session: Fitting) -> Path:
    """Return where the checkpoints of a fit lie."""
    return session.directory / "checkpoints"


def snapshot(session: Fitting, *, optimizer: bool = True) -> Snapshot:
    """Return everything that an exact resume needs, arrays by reference."""
    exported = session.builder.exported(session)
    plain: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    labels = {member.name: member.label for member in session.bus.members}
    for name, state in state_of(session.bus).items():
        plain[name], found = encode_state(name, state, labels[name])
        arrays |= found
    stems = exporting.stored_tensors(session)
    if optimizer:
        stems["optimizer"] = session.optimizer.arrays()
    if arrays:
        stems["plugins"] = arrays
    if kept := best_weights.differing(session):
        stems["best"] = kept
    if session.averages:
        stems[_AVERAGED] = exporting.exported_tensors(session, tensors_in_use(session))
    mx.eval(stems)
    return Snapshot(
        step=session.state.step,
        arrays=stems,
        documents={
            "config.json": exported.config,
            DESCRIPTION: describe(session, exported),
            "state.json": {
                "state": session.state.state_dict(),
                "control": session.control.state_dict(),
                "optimizer": session.optimizer.state_dict(),
                "data": session.data.progress(),
                "plugins": plain,
                "disabled": disabled_of(session.bus.members),
            },
        },
        copies={**exported.files, LINEAGE: packed(session.lineage), BEFORE: packed(session.before)},
        facts=facts(session),
        lacks=() if optimizer else ("optimizer.safetensors",),
    )


def retire(session: Fitting, retention: Retention | None, empty: Callable[[Path], object]) -> None:
    """Remove the checkpoints that need not stay; the best are ranked by the monitored metric.

    Args:
        session: The fit.
        retention: How many stay.
        empty: Removes the files of one whose name is gone, now or later.
    """
    checkpoints.retire(
        checkpoint_folder(session),
        retention or Retention(),
        best=ranked(session),
        say=lambda text: session.message(text, "warning"),
        thinning=to_use,
        empty=empty,
    )


def load(session: Fitting, path: Path, *, optimizer: bool = True) -> Checkpoint:
    """Put back what a checkpoint holds, before the step is compiled."""
    checkpoint = checkpoints.verify(path)
    check_suits(checkpoint, session.model, session.data, session.builder.exported(session).state, session.run.id)
    source = str(path / "model.safetensors")
    put_tensors(session.model, _training_tensors(session, checkpoint), source=source, strict=True)
    note_masks(session.model)
    session.had_seen(before_in(path))
    saved = checkpoints.read_document(checkpoint, "state.json")
    try:
        _take_over(session, checkpoint, saved, optimizer=optimizer)
    except CheckpointError as error:
        raise CheckpointError(f"{path / 'state.json'}: {error}") from error
    if not optimizer:
        begin_averages(session)
    stored = checkpoints.read_arrays(checkpoint, "best") if "best.safetensors" in checkpoint.files else None
    try:
        best_weights.take_back(session, stored, whole=optimizer)
    except CheckpointError as error:
        raise CheckpointError(f"{path / 'best.safetensors'}: {error}") from error
    return checkpoint


def _training_tensors(session: Fitting, checkpoint: Checkpoint) -> dict[str, Any]:
    other = exporting.TRAINING_FILE in checkpoint.files
    training = checkpoints.read_arrays(checkpoint, exporting.TRAINING) if other else {}
    tensors = checkpoints.read_arrays(checkpoint, "model")
    return exporting.training_tensors(session, tensors, training, str(checkpoint.path))


def load_exported(model: Any, folder: Path) -> None:
    """Put the weights of a model's folder into a model that is there.

    Args:
        model: The model.
        folder: The folder, which is verified.

    Raises:
        ModelError: It is damaged, or of another model.
    """
    found = folders.find_folder(str(folder))
    put_tensors(model, folders.read_tensors(found), source=str(found / folders.WEIGHTS), strict=True)
    put_lineage(model, lineage_in(found))


def standing(checkpoint: Checkpoint) -> tuple[TrainingState, Control]:
    """Return where the fit of a checkpoint stood, and what was asked of it.

    Raises:
        CheckpointError: state.json is something else; the key is named.
    """
    state, control = TrainingState(), Control()
    try:
        saved = fields_of(checkpoints.read_document(checkpoint, "state.json"), "the file", _PARTS)
        state.load_state_dict(saved["state"])
        control.load_state_dict(saved["control"])
    except CheckpointError as error:
        raise CheckpointError(f"{checkpoint.path / 'state.json'}: {error}") from error
    return state, control


def _take_over(session: Fitting, checkpoint: Checkpoint, saved: Any, *, optimizer: bool) -> None:
    """Put back what state.json says, once it is known to be what is written there.

    Raises:
        CheckpointError: It is something else; the key is named.
    """
    fields_of(saved, "the file", _PARTS)
    session.state.load_state_dict(saved["state"])
    if session.state.step != checkpoint.step:
        raise CheckpointError(f"state.step: expected {checkpoint.step}, got {session.state.step}")
    session.control.load_state_dict(saved["control"])
    session.control.step = session.state.step
    session.data.resume(named(saved["data"], "data", lambda value, _: value))
    if optimizer:
        session.optimizer.load_arrays(checkpoints.read_arrays(checkpoint, "optimizer"))
        rate = fields_of(saved["optimizer"], "optimizer", ("learning_rate",))["learning_rate"]
        number(rate, "optimizer.learning_rate")
        session.optimizer.load_state_dict(saved["optimizer"])
    arrays = checkpoints.read_arrays(checkpoint, "plugins") if "plugins.safetensors" in checkpoint.files else {}
    plain = named(saved["plugins"], "plugins", lambda value, key: named(value, key, lambda inner, _: inner))
    states = {}
    for name, state in plain.items():
        try:
            states[name] = decode_state(state, arrays)
        except ValueError as error:
            raise CheckpointError(f"plugins.{name}: {error}") from error
    if arrays:
        raise CheckpointError(f"plugins: expected a place of the array {show(min(arrays))}, got none")
    disabled = named(saved["disabled"], "disabled", text)
    restore_state(session.bus, states)
    keep_disabled(session.bus, disabled)


def export(session: Fitting) -> Path:
    """Write the model as a Hugging Face folder from which `evaluate` and `predict` rebuild everything."""
    folder, exported = session.directory / "model", session.builder.exported(session)
    tensors = tensors_of(session.model)
    states, arrays = fit_states(session.bus)
    files = {**exported.files, LINEAGE: packed(session.lineage)}
    if arrays:
        files[STATES] = tensor_files.as_bytes(arrays)
    beside = exporting.files_of_plugins(session, {*files, STATES})
    folders.write_folder(folder, exported.config, tensors, files, describe(session, exported, states), beside)
    session.artifact("model", folder)
    return folder


def describe(session: Fitting, exported: Exported, states: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what prediction needs: components and their settings, labels, templates; and which plugins were on.

    Args:
        session: The fit.
        exported: What its builder tells.
        states: What plugins remember that take part in prediction; None asks them.
    """
    from stepbus.base import __version__

    return {
        "stepbus": __version__,
        "format": FORMAT,
        "config": values_without_secrets(prediction_tree(session.config, session.data.task)),
        "encoder": exported.state,
        "plugins": _constant(session)["plugins"],
        "predicting": fit_states(session.bus)[0] if states is None else states,
        "metrics": {name: value for name, value in session.state.metrics.items() if value == value},
        "step": session.state.step,
    }


def facts(session: Fitting) -> dict[str, Any]:
    """Return what a resume compares."""
    torn = {"weights": session.not_of_step} if session.not_of_step else {}
    return torn | {"run": session.run.id, "data": session.data.digests(), **_constant(session)}


def _constant(session: Fitting) -> dict[str, Any]:
    """Return what stays as it is while a fit runs, so that a boundary does not wait for it again."""
    if session not in _constants:
        _constants[session] = {
            "config": wheel_cache.with_digests(session.config.deciding()),
            "config_digest": session.config.digest(),
            "plugins": plugin_table(session.members),
            **computing_facts(session.config),
        }
    return _constants[session]
