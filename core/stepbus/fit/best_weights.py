"""The best weights of a fit: kept whenever a plugin may ask for them, and put back where one did.

Kept are the weights that the best evaluation was of (averages, where somebody averages), as references to immutable
arrays, and never anything else: a best that a checkpoint names without its weights is forgotten, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stepbus.base import CheckpointError
from stepbus.fit.effects import unevaluated
from stepbus.fit.using import settle, tensors_in_use
from stepbus.fit.weights import put_tensors, tensors_of

if TYPE_CHECKING:
    from stepbus.fit.builder import Fitting


def wanted(session: Fitting) -> bool:
    """Say whether the best weights were asked for, or may be."""
    return bool(session.control.best) or session.bus.may_ask("best")


def why_never(session: Fitting) -> str:
    """Return why a fit can have no best weights, or "" where it can.

    Args:
        session: A prepared fit.
    """
    state, monitor = session.state, session.monitor
    monitored = session.fit.monitored is not None
    why = unevaluated(session.config.training, monitored, state.steps_per_epoch, state.total_steps)
    if why and not (monitored and session.bus.may_ask("evaluation")):
        return f"there is none without an evaluation, and {why}"
    if not wanted(session):
        return "no plugin declares that it may ask for them, so they are not kept"
    if session.directions.get(monitor) is None:
        return f"{monitor} does not say whether more or less of it is better; set training.greater_is_better"
    return ""


def keep(session: Fitting) -> None:
    """Keep the weights that were just evaluated, where they are the best and somebody may ask for them."""
    best = session.state.best
    if best is not None and best.step == session.state.step and wanted(session):
        session.best_arrays = tensors_in_use(session)


def forget(session: Fitting, why: str) -> None:
    """Forget the best so far, which cannot be compared with what comes; that is said.

    Args:
        session: The fit.
        why: What it is, as the sentence goes on: "was of another loss".
    """
    best = session.state.best
    session.state.best, session.best_arrays = None, {}
    if best is not None:
        so_far = f"the best so far ({best.metric} {best.value:.6g} at step {best.step})"
        session.message(f"{so_far} {why}; the best is looked for from here on", "warning")


def differing(session: Fitting) -> dict[str, Any]:
    """Return the best weights where a checkpoint keeps them beside the model's, which are others; else nothing."""
    best = session.state.best
    here = best is not None and best.step == session.state.step and not session.averages
    return {} if best is None or here else session.best_arrays


def take_back(session: Fitting, stored: Mapping[str, Any] | None, *, whole: bool = True) -> None:
    """Take over the best weights of a checkpoint, once its state and its model are in place.

    Args:
        session: The fit.
        stored: The weights that the checkpoint keeps beside the model's, if any.
        whole: Whether the optimizer's state is in place too, and with it what was averaged.

    Raises:
        CheckpointError: They are not those of this model.
    """
    session.best_arrays = {}
    best = session.state.best
    if best is None or not wanted(session):
        return
    if stored is not None:
        own, kept = (
            {name: getattr(value, "shape", ()) for name, value in tensors.items()}
            for tensors in (tensors_of(session.model), stored)
        )
        if wrong := [name for name in sorted({*own, *kept}) if own.get(name) != kept.get(name)]:
            raise CheckpointError(
                f"expected {wrong[0]} of shape {own.get(wrong[0], 'none')}, as the model has it, got "
                f"{kept.get(wrong[0], 'none')}"
            )
        session.best_arrays = dict(stored)
    elif best.step == session.state.step and (whole or not session.averages):
        keep(session)  # at the best step itself, the weights in use are the best
    else:
        session.state.best = None
        session.message(
            f"the best weights so far ({best.metric} {best.value:.6g} at step {best.step}) were not kept, because no "
            "plugin declared then that it may ask for them; the best is looked for from here on",
            "warning",
        )


def put_back(session: Fitting) -> None:
    """Put the best weights back where a plugin asked for them, else those that are evaluated; then nobody can ask."""
    control, state = session.control, session.state
    if not control.best:
        control.refused.setdefault(
            "best", "the weights to export were chosen already; ask in on_metrics or on_epoch_end"
        )
        settle(session)
        return
    if state.best is None:
        settle(session)
        session.message(
            f"there are no best weights to put back, because {session.monitor} was never a number: asked for by "
            f"{control.why('best')}",
            "warning",
        )
        return
    if (monitored := session.fit.monitored) is not None:  # also where they were asked for before any evaluation
        control.selected.setdefault(monitored, f"{control.best[0].plugin} at step {control.best[0].step}")
    if state.best.step == state.step:
        settle(session)
        return
    put_tensors(session.model, session.best_arrays, source="the best weights")
    session.averages = False
    session.not_of_step = f"the best weights, those of step {state.best.step}, were put back"
    state.evaluated.clear()
    session.message(f"the best weights are back: {state.best.metric} {state.best.value:.4f} at step {state.best.step}")
