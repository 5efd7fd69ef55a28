"""The best weights of a fit: kept whenever a plugin may ask for them, and put back where one did.

Kept are the weights of the best evaluation, as references to immutable arrays, and never anything else: a best that a
checkpoint names without its weights is forgotten, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepbus.effects import unevaluated
from stepbus.errors import CheckpointError

if TYPE_CHECKING:
    from stepbus.trainer import Trainer


def _wanted(trainer: Trainer) -> bool:
    """Say whether the best weights were asked for, or may be."""
    return bool(trainer.control.best) or trainer.bus.may_ask("best")


def why_never(trainer: Trainer) -> str:
    """Return why a fit can have no best weights, or "" where it can.

    Args:
        trainer: A prepared fit.
    """
    state, monitor = trainer.state, trainer.monitor
    monitored = trainer.fit.monitored is not None
    why = unevaluated(trainer.config.training, monitored, state.steps_per_epoch, state.total_steps)
    if why and not (monitored and trainer.bus.may_ask("evaluation")):
        return f"there is none without an evaluation, and {why}"
    if not _wanted(trainer):
        return "no plugin declares that it may ask for them, so they are not kept"
    if trainer.directions.get(monitor) is None:
        return f"{monitor} does not say whether more or less of it is better; set training.greater_is_better"
    return ""


def keep(trainer: Trainer) -> None:
    """Keep the present weights, which were just evaluated, where they are the best and somebody may ask for them."""
    best = trainer.state.best
    if best is not None and best.step == trainer.state.step and _wanted(trainer):
        trainer.best_arrays = dict(trainer.model.tensors())  # arrays are immutable: a snapshot by reference


def take_back(trainer: Trainer, stored: Mapping[str, Any] | None) -> None:
    """Take over the best weights of a checkpoint, once its state and its model are in place.

    Args:
        trainer: The fit.
        stored: The weights that the checkpoint keeps beside the model's, if any.

    Raises:
        CheckpointError: They are not those of this model.
    """
    trainer.best_arrays = {}
    best = trainer.state.best
    if best is None or not _wanted(trainer):
        return
    if best.step == trainer.state.step:
        keep(trainer)  # at the best step itself, the model is the best
    elif stored is not None:
        own, kept = (
            {name: getattr(value, "shape", ()) for name, value in tensors.items()}
            for tensors in (trainer.model.tensors(), stored)
        )
        if wrong := [name for name in sorted({*own, *kept}) if own.get(name) != kept.get(name)]:
            raise CheckpointError(
                f"expected {wrong[0]} of shape {own.get(wrong[0], 'none')}, as the model has it, got "
                f"{kept.get(wrong[0], 'none')}"
            )
        trainer.best_arrays = dict(stored)
    else:
        trainer.state.best = None
        trainer.message(
            f"the best weights so far ({best.metric} {best.value:.6g} at step {best.step}) were not kept, because no "
            "plugin declared then that it may ask for them; the best is looked for from here on",
            "warning",
        )


def put_back(trainer: Trainer) -> None:
    """Put the best weights back where a plugin asked for them; from now on nobody can ask."""
    control, state = trainer.control, trainer.state
    if not control.best:
        control.refused.setdefault(
            "best", "the weights to export were chosen already; ask in on_metrics or on_epoch_end"
        )
    elif state.best is None:
        trainer.message(
            f"there are no best weights to put back, because {trainer.monitor} was never a number: asked for by "
            f"{control.why('best')}",
            "warning",
        )
    elif state.best.step != state.step:
        trainer.model.load_tensors(trainer.best_arrays, source="the best weights")
        state.evaluated.clear()
        trainer.message(
            f"the best weights are back: {state.best.metric} {state.best.value:.4f} at step {state.best.step}"
        )
