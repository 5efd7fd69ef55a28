"""The end of a fit: the weights that count are put in place, scored and written, and its result is filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepbus.base import counted
from stepbus.fit import best_weights, evaluation, exporting
from stepbus.fit.computing import spoiled
from stepbus.fit.seen import put_lineage, seen_in, trained_on, warnings_of

if TYPE_CHECKING:
    from stepbus.fit.builder import Fitting
    from stepbus.kernel import FitResult


def finish(session: Fitting, result: FitResult) -> None:
    """Put the weights in place that a fit exports, score what is to be scored, and write the model.

    Args:
        session: The fit, which came to its end.
        result: Its result, which gets predictions and where the model lies.
    """
    if session.state.step_in_epoch:  # it ended within an epoch
        session.state.tell_means()
    best_weights.put_back(session)
    exporting.unwrap(session)
    session.control.settled = True
    result.predictions = evaluation.final_predictions(session)
    for words in warnings_of(session.before | trained_on(session.fit), session.fit):
        session.message(words, "warning")
    words = spoiled(session)
    result.model_path = session.disk.export(session)
    if words:
        mend = "begin anew, or go on from an earlier checkpoint"
        session.message(f"the exported model is of no use, because {words}; {mend}", "warning")


def fill(session: Fitting, result: FitResult) -> None:
    """Fill in what a fit came to, whether it came to its end or not.

    Args:
        session: The fit.
        result: Its result.
    """
    state = session.state
    result.metrics, result.best = dict(state.metrics), state.best
    result.history, result.logged, result.steps = list(state.history), list(state.logged), state.step
    result.epoch_means = list(state.epoch_means)
    result.skipped, result.first_skipped = state.skipped, state.first_skipped
    result.lineage, result.selected = session.lineage, dict(session.control.selected)
    result.seen = {
        name: met.said("rows") for name, met in seen_in(session.before | trained_on(session.fit), session.fit)
    }
    if "model" in vars(session):  # a fit may fail before it has one
        put_lineage(session.model, result.lineage)


def count_skipped(session: Fitting) -> None:
    """Say how many updates of a fit changed nothing, as its last word on them.

    Args:
        session: The fit, which has ended and did not fail.
    """
    state = session.state
    if not state.skipped:
        return
    fit = "" if session.run.alone else f"{session.fit.name}: "
    first = f"; the first at step {state.first_skipped}" if state.first_skipped else ""
    # Where the loss is scaled, a few are how the scale is found.
    few = state.overflows == state.skipped and state.skipped * 10 <= state.step
    session.message(
        f"{fit}{state.skipped} of {counted(state.step, 'update')} changed nothing, because a loss, a gradient or a new "
        f"weight was no finite number{first}",
        "info" if few else "warning",
    )
