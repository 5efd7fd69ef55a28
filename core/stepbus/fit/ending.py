"""The end of a fit: the weights that count are put in place, scored and written, and its result is filled in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepbus.fit import best_weights, evaluation, exporting
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
    best_weights.put_back(session)
    exporting.unwrap(session)
    session.control.settled = True
    result.predictions = evaluation.final_predictions(session)
    for words in warnings_of(session.before | trained_on(session.fit), session.fit):
        session.message(words, "warning")
    result.model_path = session.disk.export(session)


def fill(session: Fitting, result: FitResult) -> None:
    """Fill in what a fit came to, whether it came to its end or not.

    Args:
        session: The fit.
        result: Its result.
    """
    state = session.state
    result.metrics, result.best = dict(state.metrics), state.best
    result.history, result.steps = list(state.history), state.step
    result.lineage, result.selected = session.lineage, dict(session.control.selected)
    result.seen = {
        name: met.said("rows") for name, met in seen_in(session.before | trained_on(session.fit), session.fit)
    }
    if "model" in vars(session):  # a fit may fail before it has one
        put_lineage(session.model, result.lineage)
