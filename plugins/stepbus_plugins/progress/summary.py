"""The summary: what a fit is about to do, in words, for the head of the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepbus import counted

if TYPE_CHECKING:
    from stepbus import Session


def fit_summary(trainer: Session) -> dict[str, str]:
    """Return what a user wants to see before the first step, by name, in order.

    Args:
        trainer: A fit that is ready to start.
    """
    from mlx.utils import tree_flatten

    from stepbus import describe_machine

    config, state, machine = trainer.config, trainer.state, describe_machine()
    parameters: Any = tree_flatten(trainer.model.trainable_parameters())
    numbers = sum(array.size for _, array in parameters)
    source = config.model.settings.pretrained or "from scratch"
    told = dict(trainer.data.describe())
    cut = {"cut": told.pop("cut")} if "cut" in told else {}  # a loss, which stands where it is seen
    named = f"{config.model.name} ({source})"
    if not hasattr(trainer.model, "section"):  # a module of the user's own, which no configuration describes
        named = type(trainer.model).__name__
    size = f"{numbers / 1e6:.1f} M" if numbers >= 1e5 else f"{numbers:,}"
    rows = ", ".join(f"{number:,} {name}" for name, number in trainer.data.rows.items())
    return {
        "model": f"{named}, {size} parameters",
        "device": f"{machine['device']}, BLAS {machine['blas']}",
        "precision": precision_in_words(config.training.precision),
        **({"rows": rows} if rows else {}),
        **told,
        "steps": steps_in_words(config.training.num_epochs, state.steps_per_epoch, state.total_steps),
        **({} if config.loss.name == "auto" else {"loss": config.loss.name}),
        "optimizer": f"{config.optimizer.name} at {config.optimizer.settings.learning_rate:g}, "
        f"{config.scheduler.name} schedule",
        "folder": str(trainer.directory),
        **cut,
    }


def precision_in_words(wanted: str) -> str:
    """Return what a training computes in: "bfloat16 (auto), weights and evaluations in float32".

    Args:
        wanted: What `training.precision` says.
    """
    from stepbus import effective_precision

    found = effective_precision(wanted)
    said = found if wanted != "auto" else f"{found} (auto)"
    return said if found == "float32" else f"{said}, weights and evaluations in float32"


def steps_in_words(epochs: int, steps_per_epoch: int, total_steps: int) -> str:
    """Return the updates of a fit: "22 (2 epochs of 11)", or "20 of the 22 that 2 epochs would give".

    Args:
        epochs: Epochs that were asked for.
        steps_per_epoch: Updates of one; 0 where nobody knows.
        total_steps: Updates of the fit.
    """
    if not steps_per_epoch:
        return f"{total_steps:,}"
    every, said = epochs * steps_per_epoch, counted(epochs, "epoch")
    if total_steps == every:
        return f"{total_steps:,} ({said} of {steps_per_epoch:,})"
    return f"{total_steps:,} of the {every:,} that {said} would give"
