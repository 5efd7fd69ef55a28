"""What a fit leaves on disk: checkpoints to go on from, and a model folder to use; and both of them back again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from stepbus import backend, best_weights, checkpoints, conditions, folders
from stepbus.checkpoints import Checkpoint, Retention, Snapshot
from stepbus.errors import CheckpointError, StepbusError, values_without_secrets
from stepbus.exports import DESCRIPTION, FORMAT
from stepbus.head_labels import keys_of
from stepbus.members import plugin_table, restore_state, state_of
from stepbus.prediction_config import prediction_tree
from stepbus.saved_state import fields_of, named, number
from stepbus.settings import show

if TYPE_CHECKING:
    from stepbus.trainer import Trainer


def checkpoint_folder(trainer: Trainer) -> Path:
    """Return where the checkpoints of a fit lie."""
    return trainer.directory / "checkpoints"


def save(trainer: Trainer, folder: Path | None = None, *, optimizer: bool = True) -> Path:
    """Write a checkpoint of everything that an exact resume needs, and return its folder."""
    plain, arrays = split_arrays(state_of(trainer.bus.members))
    stems: dict[str, dict[str, Any]] = {"model": trainer.model.tensors()}
    if optimizer:
        stems["optimizer"] = trainer.optimizer.arrays()
    if arrays:
        stems["plugins"] = arrays
    best = trainer.state.best
    # At the best step itself, the model is the best.
    if trainer.best_arrays and best is not None and best.step != trainer.state.step:
        stems["best"] = trainer.best_arrays
    mx.eval(stems)
    snapshot = Snapshot(
        step=trainer.state.step,
        arrays=stems,
        documents={
            "config.json": model_config(trainer),
            DESCRIPTION: describe(trainer),
            "state.json": {
                "state": trainer.state.state_dict(),
                "control": trainer.control.state_dict(),
                "optimizer": trainer.optimizer.state_dict(),
                "plugins": plain,
                "disabled": {member.name: member.disabled for member in trainer.bus.members if member.disabled},
            },
        },
        copies=trainer.encoder.tokenizer_files,
        facts=facts(trainer),
    )
    written = checkpoints.write_checkpoint(folder or checkpoint_folder(trainer), snapshot)
    if backend.kernels is not None:
        backend.kernels.keep()  # a process that is killed keeps none at its end
    if best is not None and best.step == trainer.state.step and folder is None:
        checkpoints.mark_best(checkpoint_folder(trainer), best.step)
    return written.path


def retire(trainer: Trainer, retention: Retention | None) -> None:
    """Remove the checkpoints that need not stay; the best are ranked by the monitored metric."""
    monitor, greater = trainer.monitor, trainer.directions.get(trainer.monitor)
    values = {record["step"]: record[monitor] for record in trainer.state.history if monitor in record}
    numbers = [step for step, value in values.items() if value == value and greater is not None]
    checkpoints.retire(
        checkpoint_folder(trainer),
        retention or Retention(),
        best=sorted(numbers, key=lambda step: -values[step] if greater else values[step]),
        say=lambda text: trainer.message(text, "warning"),
    )


def load(trainer: Trainer, path: Path, *, optimizer: bool = True) -> Checkpoint:
    """Put back what a checkpoint holds, before the step is compiled."""
    checkpoint = checkpoints.verify(path)
    source = str(path / "model.safetensors")
    trainer.model.load_tensors(checkpoints.read_arrays(checkpoint, "model"), source=source, strict=True)
    saved = checkpoints.read_document(checkpoint, "state.json")
    try:
        _take_over(trainer, checkpoint, saved, optimizer=optimizer)
    except CheckpointError as error:
        raise CheckpointError(f"{path / 'state.json'}: {error}") from error
    stored = checkpoints.read_arrays(checkpoint, "best") if "best.safetensors" in checkpoint.files else None
    try:
        best_weights.take_back(trainer, stored)
    except CheckpointError as error:
        raise CheckpointError(f"{path / 'best.safetensors'}: {error}") from error
    return checkpoint


def _take_over(trainer: Trainer, checkpoint: Checkpoint, saved: Any, *, optimizer: bool) -> None:
    """Put back what state.json says, once it is known to be what is written there.

    Raises:
        CheckpointError: It is something else; the key is named.
    """
    fields_of(saved, "the file", ("state", "control", "optimizer", "plugins", "disabled"))
    trainer.state.load_state_dict(saved["state"])
    if trainer.state.step != checkpoint.step:
        raise CheckpointError(f"state.step: expected {checkpoint.step}, got {trainer.state.step}")
    trainer.control.load_state_dict(saved["control"])
    trainer.control.step = trainer.state.step
    if optimizer:
        trainer.optimizer.load_arrays(checkpoints.read_arrays(checkpoint, "optimizer"))
        rate = fields_of(saved["optimizer"], "optimizer", ("learning_rate",))["learning_rate"]
        number(rate, "optimizer.learning_rate")
        trainer.optimizer.load_state_dict(saved["optimizer"])
    arrays = checkpoints.read_arrays(checkpoint, "plugins") if "plugins.safetensors" in checkpoint.files else {}
    plain = named(saved["plugins"], "plugins", lambda value, key: named(value, key, lambda inner, _: inner))
    if strangers := sorted({name.partition("/")[0] for name in arrays} - plain.keys()):
        raise CheckpointError(f"plugins: expected the state of {show(strangers[0])}, which has arrays, got none")
    states = join_arrays(plain, arrays)
    for member in trainer.bus.members:
        try:
            restore_state([member], states)
        except StepbusError:
            raise
        except Exception as error:  # a plugin reads its own state, and this one may be anything
            raise CheckpointError(
                f"plugins.{member.name}: expected what its state_dict returned, got something that its load_state_dict "
                f"cannot read ({type(error).__name__}: {error})"
            ) from error


def export(trainer: Trainer) -> Path:
    """Write the model as a Hugging Face folder from which `evaluate` and `predict` rebuild everything."""
    folder = trainer.directory / "model"
    folders.write_folder(
        folder,
        model_config(trainer),
        trainer.model.tensors(),
        trainer.encoder.tokenizer_files,
        describe(trainer),
    )
    trainer.run.artifact("model", folder)
    return folder


def model_config(trainer: Trainer) -> dict[str, Any]:
    """Return the content of config.json: the model's own, with the labels' names."""
    codec, config = trainer.encoder.codec, dict(trainer.model.config)
    if codec.task == "regression":
        # Others who open the folder read standardised values; this says how they become the target's own.
        config["stepbus_target"] = {"mean": codec.mean, "sd": codec.sd, "transform": codec.target}
    names = list(codec.columns) if codec.task == "regression" else codec.names
    return config | keys_of(names, own=trainer.model.is_familys_own)


def describe(trainer: Trainer) -> dict[str, Any]:
    """Return what prediction needs: components and their settings, labels, templates; and which plugins were on."""
    from stepbus import __version__

    return {
        "stepbus": __version__,
        "format": FORMAT,
        "config": values_without_secrets(prediction_tree(trainer.config, trainer.encoder.codec.task)),
        "encoder": trainer.encoder.state_dict(),
        "plugins": plugin_table(trainer.run.members),
        "metrics": {name: value for name, value in trainer.state.metrics.items() if value == value},
        "step": trainer.state.step,
    }


def facts(trainer: Trainer) -> dict[str, Any]:
    """Return what a resume compares."""
    return {
        "run": trainer.run.id,
        "config": trainer.config.deciding(),
        "config_digest": trainer.config.digest(),
        "plugins": plugin_table(trainer.run.members),
        "data": {name: tokens.digest() for name, tokens in trainer.tokens.items()},
        "conditions": conditions.current(),
    }


def split_arrays(states: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take the arrays out of plugin states: (plugin -> JSON values, "plugin/key" -> array)."""
    plain: dict[str, Any] = {}
    arrays: dict[str, Any] = {}
    for name, state in states.items():
        kept = {key: value for key, value in state.items() if not hasattr(value, "shape")}
        arrays |= {f"{name}/{key}": value for key, value in state.items() if hasattr(value, "shape")}
        plain[name] = kept
    return plain, arrays


def join_arrays(plain: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
    """Undo `split_arrays`."""
    states = {name: dict(state) for name, state in plain.items()}
    for name, array in arrays.items():
        plugin, _, key = name.partition("/")
        states[plugin][key] = array
    return states
