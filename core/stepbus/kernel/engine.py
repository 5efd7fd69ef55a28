"""The loop. It knows steps, boundaries and events; what a step computes is somebody else's business (no MLX here).

A boundary is an update after which something is due; it is known before the update is launched, and the device is
drained there. The cycle at a boundary is fixed: update, counters, on_step_end, log, evaluate, on_metrics, the
epoch's end, checkpoint, prune, stop.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from stepbus.fit import evaluate_monitored

if TYPE_CHECKING:
    from stepbus.config import TrainingConfig
    from stepbus.fit import Trainer


def run_fit(trainer: Trainer) -> None:
    """Train until the planned steps are done, a plugin asks for the stop, or a signal arrives.

    Args:
        trainer: A prepared fit; its state says where to start.
    """
    state, control, hook = trainer.state, trainer.control, trainer.bus.hook
    hook.on_fit_start(trainer=trainer, state=state)
    trainer.serve_checkpoint()
    stop = bool(control.stop)  # a fit that was stopped and is resumed does not train on
    while not stop and state.step < state.total_steps:
        if state.step_in_epoch == 0:
            hook.on_epoch_start(trainer=trainer, state=state)
        stop = _run_epoch(trainer)


def _run_epoch(trainer: Trainer) -> bool:
    """Train from where the epoch stands; return True when the fit is to end."""
    state, flight, depth = trainer.state, deque[Any](), trainer.pipeline_depth
    with trainer.windows(state.epoch, state.step_in_epoch) as windows:
        window = next(windows, None)
        while window is not None:
            number = state.step + len(flight) + 1
            due = is_boundary(trainer, number)
            flight.append(trainer.steps.launch(window, number))
            window = next(windows, None)  # while the device computes
            # A request takes effect at the first step not yet launched: until then, all in flight comes home.
            while flight and (len(flight) > depth or due or trainer.asked):
                commit(trainer, flight.popleft())
            if not flight and (due or trainer.asked) and boundary(trainer):
                return True
    return False


def is_boundary(trainer: Trainer, step: int) -> bool:
    """Return whether anything is due after an update, asked before it is launched."""
    state, training = trainer.state, trainer.config.training
    in_epoch = step - state.step + state.step_in_epoch
    return (
        any(trainer.bus.hook.is_boundary(trainer=trainer, step=step))
        or step == state.total_steps
        or in_epoch == state.steps_per_epoch
        or _evaluates_by_steps(training, step)
    )


def commit(trainer: Trainer, ticket: Any) -> None:
    """Take one update's numbers home, count it, and tell the plugins."""
    state, step = trainer.state, trainer.steps.read(ticket)
    state.step += 1
    state.step_in_epoch += 1
    state.samples_seen += step.sequences
    state.tokens_seen += step.tokens
    state.learning_rate = step.learning_rate
    state.add_to_interval(step)
    trainer.control.step = state.step
    trainer.bus.hook.on_step_end(trainer=trainer, state=state, step=step)
    if state.step % trainer.config.training.log_steps == 0 or state.step == state.total_steps:
        trainer.log(state.close_interval())


def boundary(trainer: Trainer) -> bool:
    """Do what is due after the update that was just committed; return True when the fit is to end."""
    state, control = trainer.state, trainer.control
    epoch_ended = state.step_in_epoch == state.steps_per_epoch
    if reason := _evaluation_reason(trainer, epoch_ended):
        control.evaluation.clear()
        evaluate_monitored(trainer, reason)
    if epoch_ended:
        trainer.bus.hook.on_epoch_end(trainer=trainer, state=state)
        state.epoch += 1
        state.step_in_epoch = 0
    trainer.cut = trainer.interrupted  # asked once: a signal that comes during the save is for the next boundary
    if trainer.cut:
        control.request_checkpoint("interrupted")
    trainer.serve_checkpoint()
    return bool(control.stop) or trainer.cut or state.step == state.total_steps


def _evaluation_reason(trainer: Trainer, epoch_ended: bool) -> str:
    training = trainer.config.training
    if trainer.fit.monitored is None:
        return ""
    if training.eval_strategy == "epoch" and epoch_ended:
        return "epoch"
    if _evaluates_by_steps(training, trainer.state.step):
        return "steps"
    return trainer.control.why("evaluation")


def _evaluates_by_steps(training: TrainingConfig, step: int) -> bool:
    return training.eval_strategy == "steps" and training.eval_steps is not None and step % training.eval_steps == 0
