"""The loop. It knows steps, boundaries and events; what a step computes is somebody else's business (no MLX here).

After each update: counters, on_step_end, log. A boundary is an update after which more is due; it is known before the
update is launched, and the device is drained there. Its cycle is fixed: evaluate, on_metrics, the epoch's end, tell of
the checkpoint that became durable and retire older ones, begin the next one, stop. It is written while updates go on.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any

from stepbus.base import DataError

if TYPE_CHECKING:
    from stepbus.kernel.parts import LoopSettings
    from stepbus.kernel.protocols import Session


SKIPPED = "update {} changed nothing, because {}; the log counts such updates as skipped_steps"
OF_LOSS = "its loss was no finite number"
OF_GRADIENT = "a gradient, or what the optimizer made of it, was no finite number, while its loss is one"


def run_fit(session: Session) -> None:
    """Train until the planned steps are done, a plugin asks for the stop, or a signal arrives.

    Args:
        session: A fit whose steps are compiled; its state says where to start.

    Raises:
        DataError: An epoch has no batch.
    """
    state, control, hook = session.state, session.control, session.hook
    hook.on_fit_start(trainer=session, state=state)
    with session.times.checkpoints:
        session.serve_checkpoint()
        session.settle_checkpoint()  # a full or read-only disk is found before the work is done
    stop = bool(control.stop)  # asked for at the start, or before a resume
    while not stop and state.step < state.total_steps:
        if state.step_in_epoch == 0:
            hook.on_epoch_start(trainer=session, state=state)
        step, stop = state.step, _run_epoch(session)
        if not stop and state.step == step:
            raise DataError(f"epoch {state.epoch + 1}: expected at least one batch to train on, got none")
    with session.times.checkpoints:
        session.settle_checkpoint()


def _run_epoch(session: Session) -> bool:
    """Train from where the epoch stands; return True when the fit is to end."""
    state, flight, depth, times = session.state, deque[Any](), session.pipeline_depth, session.times
    with session.data.windows(state.epoch, state.step_in_epoch) as windows:
        with times.data:
            window, successor = next(windows, None), next(windows, None)
        while window is not None:
            number, ended = state.step + len(flight) + 1, successor is None
            due = is_boundary(session, number, ended)
            with times.updates:
                flight.append(session.steps.launch(window, number))
            with times.data:  # while the device computes
                window, successor = successor, None if ended else next(windows, None)
            # A request takes effect at the first step not yet launched: until then, all in flight comes home.
            while flight and (len(flight) > depth or due or session.asked):
                commit(session, flight.popleft())
            if not flight and (due or session.asked) and boundary(session, ended):
                return True
    return False


def is_boundary(session: Session, step: int, epoch_ends: bool) -> bool:
    """Return whether anything is due after an update, asked before it is launched.

    Args:
        session: The fit.
        step: The number of the update.
        epoch_ends: Whether it is the last of its epoch.
    """
    return (
        any(session.hook.is_boundary(trainer=session, step=step))
        or step == session.state.total_steps
        or step in session.phases
        or epoch_ends
        or _evaluates_by_steps(session.settings, step)
    )


def commit(session: Session, ticket: Any) -> None:
    """Take one update's numbers home, count it, and tell the plugins."""
    state = session.state
    with session.times.updates:
        step = session.steps.read(ticket)
    state.step += 1
    state.step_in_epoch += 1
    state.samples_seen += step.sequences
    state.tokens_seen += step.tokens
    state.learning_rate = step.learning_rate
    state.add_to_interval(step)
    session.control.step = state.step
    if step.skipped:
        state.skipped += 1
        state.overflows += step.overflow
        state.first_skipped = state.first_skipped if state.skipped > 1 else state.step
        if state.skipped == 1 or (not step.overflow and state.skipped - state.overflows == 1):  # that no scale mends
            what = OF_GRADIENT if math.isfinite(step.loss) else OF_LOSS
            session.message(SKIPPED.format(state.step, what), "info" if step.overflow else "warning")
    session.hook.on_step_end(trainer=session, state=state, step=step)
    if state.step % session.settings.log_steps == 0 or state.step == state.total_steps:
        session.log({**state.close_interval(), **session.times.of_interval()})


def boundary(session: Session, epoch_ends: bool) -> bool:
    """Do what is due after the update that was just committed; return True when the fit is to end."""
    state, control = session.state, session.control
    if epoch_ends:
        state.steps_per_epoch = state.step_in_epoch  # of batches that nobody could count before
        state.tell_means()
    if reason := _evaluation_reason(session, epoch_ends):
        control.evaluation.clear()
        with session.times.evaluations:
            session.evaluate_monitored(reason)
    elif control.evaluation:
        session.message(f"there are no rows to evaluate, as was asked by {control.why('evaluation')}", "warning")
        control.evaluation.clear()
    if epoch_ends:
        session.hook.on_epoch_end(trainer=session, state=state)
        state.epoch += 1
        state.step_in_epoch, state.of_epoch = 0, {}
    cut = session.cut_short()  # asked once: a signal that comes during the save is for the next boundary
    with session.times.checkpoints:
        session.serve_checkpoint()
    ended = bool(control.stop) or cut or state.step == state.total_steps
    if not ended:
        session.begin_phase()
    return ended


def _evaluation_reason(session: Session, epoch_ends: bool) -> str:
    settings = session.settings
    unseen = session.fit.monitored is None or settings.eval_strategy == "no"
    if unseen and epoch_ends and session.monitor in session.state.train_means:
        return "training"  # which decides without any rows to evaluate
    if session.fit.monitored is None:
        return ""
    if settings.eval_strategy == "epoch" and epoch_ends:
        return "epoch"
    if _evaluates_by_steps(settings, session.state.step):
        return "steps"
    return session.control.why("evaluation")


def _evaluates_by_steps(settings: LoopSettings, step: int) -> bool:
    return settings.eval_strategy == "steps" and settings.eval_steps is not None and step % settings.eval_steps == 0
