"""What a fit that goes on under other settings makes of the best so far, and who waits for a better one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stepbus import Control, TrainingState
from stepbus.fit.saving import go_on_with, ranked
from stepbus.kernel.state import Best
from stepbus_plugins.early_stopping import EarlyStopping
from stepbus_plugins.schedules.plateau import PlateauConfig, ReduceOnPlateau

HISTORY = [
    {"step": 12, "eval_loss": 0.7, "eval_auc_roc": 0.8, "eval_f1": float("nan")},
    {"step": 24, "eval_loss": 0.4, "eval_auc_roc": 0.6, "eval_f1": 0.5},
    {"step": 36, "eval_loss": 0.9, "eval_auc_roc": 0.7, "eval_f1": 0.4},
]


def a_fit(best: Best, monitor: str, *, step: int = 36, wanted: bool = False) -> Any:
    said: list[str] = []
    return SimpleNamespace(
        state=TrainingState(step=step, history=[dict(record) for record in HISTORY], best=best),
        monitor=monitor,
        directions={"eval_loss": False, "eval_auc_roc": True, "eval_f1": True},
        fit=SimpleNamespace(monitored="validation"),
        control=Control(),
        bus=SimpleNamespace(may_ask=lambda word: wanted),
        best_arrays={"weight": "that of the best"},
        optimizer=SimpleNamespace(learning_rate=0.1),
        message=lambda text, level="info": said.append(text),
        said=said,
    )


@pytest.mark.parametrize(
    ("monitor", "value", "step"), [("eval_loss", 0.4, 24), ("eval_auc_roc", 0.8, 12), ("eval_f1", 0.5, 24)]
)
def test_the_best_is_chosen_again_by_another_metric(monitor: str, value: float, step: int) -> None:
    """A loss of 0.4 was held against an area of 0.8, or the other way round."""
    old = Best("eval_loss", 0.4, 24) if monitor == "eval_auc_roc" else Best("eval_auc_roc", 0.8, 12)
    fit = a_fit(old, monitor)
    go_on_with(fit, {}, {})
    assert (fit.state.best.metric, fit.state.best.value, fit.state.best.step) == (monitor, value, step)
    assert ranked(fit)[0] == step and not fit.said


def test_where_its_weights_were_not_kept_it_is_looked_for_anew() -> None:
    fit = a_fit(Best("eval_auc_roc", 0.8, 12), "eval_loss", wanted=True)
    go_on_with(fit, {}, {})
    assert (fit.state.best, fit.best_arrays, ranked(fit)) == (None, {}, [])
    assert fit.said == [
        "the best so far (eval_auc_roc 0.8 at step 12) is not by eval_loss, whose best (0.4 at step 24) has no weights "
        "that were kept; the best is looked for from here on"
    ]
    kept = a_fit(Best("eval_f1", 0.5, 24), "eval_loss", wanted=True)  # of the same step
    go_on_with(kept, {}, {})
    assert (kept.state.best.metric, kept.state.best.step) == ("eval_loss", 24) and kept.best_arrays


def test_of_the_same_metric_rows_and_loss_nothing_changes() -> None:
    facts = {"data": {"train": "a", "validation": "b"}, "config": {"loss": {"type": "auto"}}}
    for was in (facts, {**facts, "data": {"train": "other", "validation": "b"}}):
        fit = a_fit(Best("eval_loss", 0.4, 24), "eval_loss")
        go_on_with(fit, was, facts)
        assert fit.state.best.step == 24 and not fit.said


@pytest.mark.parametrize("monitor", ["eval_auc_roc", "eval_loss"])
def test_who_waits_for_a_better_value_forgets_that_of_another_metric(monitor: str) -> None:
    trainer: Any = SimpleNamespace(monitor="eval_loss")
    for plugin in (
        EarlyStopping(EarlyStopping.Config(monitor=monitor)),
        ReduceOnPlateau(PlateauConfig(monitor=monitor)),
    ):
        plugin.watched, plugin.best, plugin.stalled = "eval_loss", 0.4, 2
        plugin.on_fit_start(trainer, TrainingState(step=24, best=Best("eval_loss", 0.4, 24)))
        assert (plugin.best, plugin.stalled) == ((0.4, 2) if monitor == "eval_loss" else (None, 0))
        plugin.watched, plugin.best, plugin.stalled = monitor, 0.4, 2
        plugin.on_fit_start(trainer, TrainingState(step=24))  # the fit forgot its best, by eval_loss
        assert (plugin.best, plugin.stalled) == ((None, 0) if monitor == "eval_loss" else (0.4, 2))
