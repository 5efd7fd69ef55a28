"""early_stopping: patience, direction, requests, state."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import pytest

from stepbus import ConfigError, Control, Plan, StepbusError, TrainingState
from stepbus.testing import play
from stepbus_plugins.early_stopping import EarlyStopping, improves


def fit(**settings: Any) -> tuple[EarlyStopping, SimpleNamespace]:
    trainer = SimpleNamespace(
        control=Control(asking="early_stopping"),
        directions={"eval_loss": False, "eval_accuracy": True, "eval_odd": None},
        monitor="eval_loss",
    )
    return EarlyStopping(EarlyStopping.Config(**settings)), trainer


def feed(plugin: EarlyStopping, trainer: SimpleNamespace, values: list[float], name: str = "eval_loss") -> int | None:
    """Evaluate after every tenth step; return the step at which the stop was asked for."""
    for number, value in enumerate(values, start=1):
        trainer.control.step = number * 10
        plugin.on_metrics(trainer, TrainingState(step=number * 10), {name: value})
        if trainer.control.stop:
            return number * 10
    return None


def plan(**changes: Any) -> Plan:
    facts = {"has_validation": True, "monitor": "eval_loss", "metrics": {"eval_loss": False, "eval_f1": True}}
    rest = {"config": None, "fits": [], "task": "binary", "total_steps": 100, "rows": {"train": 400}}
    return Plan(**(rest | facts | changes))


@pytest.mark.parametrize(
    ("value", "best", "delta", "greater", "expected"),
    [
        (0.5, None, 0.0, False, True),
        (0.5, 0.5, 0.0, False, False),
        (0.49, 0.5, 0.0, False, True),
        (0.49, 0.5, 0.02, False, False),
        (0.51, 0.5, 0.0, True, True),
        (0.49, 0.5, 0.0, True, False),
        (math.nan, None, 0.0, True, False),
        (math.nan, 0.5, 0.0, False, False),
    ],
)
def test_improvement_has_a_direction_and_a_least_size(
    value: float, best: float | None, delta: float, greater: bool, expected: bool
) -> None:
    assert improves(value, best, delta, greater) is expected


def test_stops_after_patience_and_says_why() -> None:
    plugin, trainer = fit(patience=2)
    assert feed(plugin, trainer, [0.9, 0.8, 0.85, 0.81, 0.1]) == 40
    assert trainer.control.why("stop") == (
        "early_stopping at step 40: eval_loss has not improved for 2 evaluations (best 0.8 at step 20)"
    )
    assert len(trainer.control.best) == 1


def test_an_improvement_starts_the_count_anew() -> None:
    plugin, trainer = fit(patience=2)
    assert feed(plugin, trainer, [0.9, 0.95, 0.8, 0.85, 0.79]) is None


def test_greater_is_better_follows_the_declared_direction() -> None:
    plugin, trainer = fit(patience=1, monitor="eval_accuracy", restore_best=False)
    assert feed(plugin, trainer, [0.5, 0.6, 0.55], "eval_accuracy") == 30
    assert trainer.control.best == []


def test_nan_is_no_improvement_and_never_the_best() -> None:
    plugin, trainer = fit(patience=2)
    assert feed(plugin, trainer, [math.nan, math.nan]) == 20
    assert "never a number" in trainer.control.why("stop")
    plugin, trainer = fit(patience=2)
    assert feed(plugin, trainer, [math.nan, 0.5, 0.6]) is None
    assert plugin.best == 0.5


@pytest.mark.parametrize("cut", range(6))
def test_a_resumed_fit_stops_at_the_same_step(cut: int) -> None:
    values = [0.9, 0.7, 0.8, 0.6, 0.61, 0.62, 0.63, 0.1]
    whole, trainer = fit(patience=3)
    stopped = feed(whole, trainer, values)
    assert stopped == 70

    first, trainer = fit(patience=3)
    assert feed(first, trainer, values[:cut]) is None
    saved = json.loads(json.dumps(first.state_dict()))
    second, _ = fit(patience=3)
    second.load_state_dict(saved)
    assert feed(second, trainer, values[cut:]) == stopped - cut * 10
    assert second.state_dict() | {"best_step": 0} == whole.state_dict() | {"best_step": 0}
    assert len(trainer.control.best) == 1


def test_without_its_state_a_resumed_fit_stops_elsewhere() -> None:
    """The negative control of the test above."""
    _, trainer = fit(patience=3)
    fresh, _ = fit(patience=3)
    assert feed(fresh, trainer, [0.62, 0.63, 0.1]) is None


def test_a_missing_metric_is_an_error_and_not_a_silent_end_of_stopping() -> None:
    plugin, trainer = fit()
    with pytest.raises(StepbusError, match=r"watches 'eval_loss', but the evaluation at step 5 gave eval_f1"):
        plugin.on_metrics(trainer, TrainingState(step=5), {"eval_f1": 0.5})


def test_a_plan_it_can_serve_has_no_problem() -> None:
    plugin, _ = fit()
    assert not plugin.validate_plan(plan())


@pytest.mark.parametrize(
    ("settings", "changes", "path", "words"),
    [
        ({"monitor": "eval_f2"}, {}, ".monitor", "got 'eval_f2' (did you mean 'eval_f1'?)"),
        ({}, {"monitor": "eval_los"}, "training.monitor", "did you mean 'eval_loss'?"),
        ({}, {"has_validation": False}, ".", "no validation rows"),
        ({"monitor": "eval_f1"}, {}, ".restore_best", "restore_best: false"),
        ({}, {"metrics": {"eval_loss": None}}, ".monitor", "whether greater is better"),
    ],
)
def test_a_plan_it_cannot_serve_is_named(
    settings: dict[str, Any], changes: dict[str, Any], path: str, words: str
) -> None:
    plugin, _ = fit(**settings)
    [problem] = plugin.validate_plan(plan(**changes)) or []
    assert problem.path == path
    assert words in problem.message


def test_another_monitor_without_restoring_is_fine() -> None:
    plugin, _ = fit(monitor="eval_f1", restore_best=False)
    assert not plugin.validate_plan(plan())


def test_the_training_loss_is_watched_beside_a_validation_set() -> None:
    played = play(
        (EarlyStopping, {"patience": 1}), losses=[4.0, 2.0, 1.0, 1.0, 3.0, 3.0], steps_per_epoch=2, epochs=4,
        metrics=[{"eval_loss": 0.9}, {"eval_loss": 0.8}, {"eval_loss": 0.7}], monitor="train_loss",
    )  # fmt: skip
    assert played.stopped_by == (
        "early_stopping at step 6: train_loss has not improved for 1 evaluation (best 1 at step 4)"
    )
    assert (played.state.best.metric, played.state.best.value, played.state.best.step) == ("train_loss", 1.0, 4)


LOSSES = [4.0, 2.0, 1.0, 1.0, 3.0, 3.0]


@pytest.mark.parametrize(
    "settings",
    [{"monitor": "train_loss"}, {"monitor": "train_loss", "eval_strategy": "no", "metrics": [{"eval_loss": 0.9}]}],
)
def test_line_044_the_training_loss_decides_where_nothing_is_evaluated(settings: dict[str, Any]) -> None:
    played = play((EarlyStopping, {"patience": 1}), losses=LOSSES, steps_per_epoch=2, epochs=4, **settings)
    assert played.stopped_by == (
        "early_stopping at step 6: train_loss has not improved for 1 evaluation (best 1 at step 4)"
    )
    assert (played.state.best.metric, played.state.best.value, played.state.best.step) == ("train_loss", 1.0, 4)
    assert [each["train_loss"] for each in played.state.history] == [3.0, 1.0, 3.0]


def test_line_044_one_that_restores_nothing_watches_it_by_itself() -> None:
    played = play(
        (EarlyStopping, {"patience": 1, "monitor": "train_loss", "restore_best": False}),
        losses=LOSSES, steps_per_epoch=2, epochs=4,
    )  # fmt: skip
    assert played.stopped_by == (
        "early_stopping at step 6: train_loss has not improved for 1 evaluation (best 1 at step 4)"
    )
    assert (played.state.best, played.state.history) == (None, [])


@pytest.mark.parametrize(
    ("settings", "training", "words"),
    [
        ({}, {}, "there are no validation rows; give data.validation or a split, or set training.monitor: train_loss"),
        ({"monitor": "train_loss"}, {}, "the best weights are kept by training.monitor (eval_loss)"),
        (
            {"monitor": "eval_loss"},
            {"monitor": "train_loss"},
            "got 'eval_loss' (did you mean 'train_loss'?); computed",
        ),
        ({}, {"monitor": "train_loss", "max_steps": 1}, "within its first epoch of 2"),
        (
            {"monitor": "train_loss", "restore_best": False},
            {"max_steps": 1},
            "there are no validation rows; give data.validation or a split",
        ),
    ],
)
def test_line_044_what_cannot_be_watched_without_rows_is_said(
    settings: dict[str, Any], training: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        play((EarlyStopping, settings), steps_per_epoch=2, epochs=4, **training)
    assert words in str(refused.value)
