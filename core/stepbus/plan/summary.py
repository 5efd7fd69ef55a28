"""The facts of a fit in words, for the head of the terminal and for `info`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from mlx.utils import tree_flatten

from stepbus.base import counted
from stepbus.device import backend

if TYPE_CHECKING:
    from stepbus.fit import Trainer
    from stepbus.text import RowEncoder
    from stepbus.text.labels import LabelCodec


def fit_facts(trainer: Trainer) -> dict[str, str]:
    """Return what a user wants to see before the first step, in order.

    Args:
        trainer: A fit that is ready to start.
    """
    config, state, codec = trainer.config, trainer.state, trainer.encoder.codec
    parameters: Any = tree_flatten(trainer.model.trainable_parameters())
    numbers = sum(array.size for _, array in parameters)
    source = config.model.settings.pretrained or "from scratch"
    machine = backend.describe()
    rows = ", ".join(f"{len(tokens):,} {name}" for name, tokens in trainer.tokens.items())
    rate = config.optimizer.settings.learning_rate
    facts = {
        "model": f"{config.model.name} ({source}), {numbers / 1e6:.1f} M parameters",
        "device": f"{machine['device']}, BLAS {machine['blas']}",
        "rows": rows,
        "labels": describe_labels(codec, trainer.targets["train"]),
        **told(trainer.encoder),
        "batches": trainer.shapes.describe(),
        "steps": describe_steps(config.training.num_epochs, state.steps_per_epoch, state.total_steps),
        "optimizer": f"{config.optimizer.name} at {rate:g}, {config.scheduler.name} schedule",
        "folder": str(trainer.directory),
    }
    truncated = trainer.tokens["train"].truncated
    if truncated:
        cut = "1 training row is" if truncated == 1 else f"{truncated:,} training rows are"
        facts["cut"] = f"{cut} longer than {config.data.settings.max_length} tokens"
    return facts


def describe_steps(epochs: int, steps_per_epoch: int, total_steps: int) -> str:
    """Return the updates of a fit in words: "22 (2 epochs of 11)", or "20 of the 22 that 2 epochs give".

    Args:
        epochs: Epochs that were asked for.
        steps_per_epoch: Updates of one.
        total_steps: Updates of the fit.
    """
    every, said = epochs * steps_per_epoch, counted(epochs, "epoch")
    if total_steps == every:
        return f"{total_steps:,} ({said} of {steps_per_epoch:,})"
    return f"{total_steps:,} of the {every:,} that {said} would give"


def told(encoder: RowEncoder) -> dict[str, str]:
    """Return what the training rows told of themselves, in words, each with the setting that says otherwise.

    Args:
        encoder: It has seen the training rows.
    """
    codec = encoder.codec
    task = {"task": f"{codec.task}, told by {codec.reason} (data.task sets another)"} if codec.reason else {}
    describe = getattr(encoder.source, "describe", None)
    return {**task, **(describe() if describe is not None else {})}


def describe_labels(codec: LabelCodec, targets: np.ndarray[Any, Any]) -> str:
    """Return the training labels in words: their counts, or where their values lie.

    Args:
        codec: The labels.
        targets: Those of the training rows, in their own unit.
    """
    if codec.task == "regression":
        low, middle, high = np.quantile(targets, [0.0, 0.5, 1.0])
        return f"regression from {low:g} to {high:g}, median {middle:g}"
    if codec.task == "multilabel":
        counts = targets.sum(axis=0).astype(int)
    else:
        counts = np.bincount(targets, minlength=len(codec.names))
    named = ", ".join(f"{name} {count:,}" for name, count in list(zip(codec.names, counts, strict=True))[:8])
    return f"{codec.task}: {named}{', …' if len(codec.names) > 8 else ''}"
