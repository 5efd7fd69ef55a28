"""checkpoint: when it asks, what it keeps, which plans it refuses."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from stepbus import (
    ConfigError,
    Control,
    Metric,
    Retention,
    TrainingState,
    create_trainer,
    open_trainer,
)
from stepbus.kernel.state import Best
from stepbus.plan.planning import describe_plan
from stepbus_plugins.checkpoint import CheckpointPolicy


def policy(**settings: Any) -> CheckpointPolicy:
    return CheckpointPolicy(CheckpointPolicy.Config(**settings))


def play(
    plugin: CheckpointPolicy,
    *,
    steps: int = 6,
    per_epoch: int = 4,
    scores: dict[int, float] | None = None,
    start: int = 0,
) -> dict[int, list[str]]:
    """Go through a fit as the engine does; step -> reasons of the checkpoints asked for."""
    trainer = SimpleNamespace(control=Control(asking="checkpoint"), try_disk=lambda: False)
    state = TrainingState(step=start, total_steps=steps, steps_per_epoch=per_epoch)
    asked: dict[int, list[str]] = {}

    def serve() -> None:
        if trainer.control.checkpoint:
            asked[state.step] = [request.reason for request in trainer.control.checkpoint]
            trainer.control.checkpoint.clear()

    plugin.on_fit_start(trainer, state)
    serve()
    for step in range(start + 1, steps + 1):
        announced = plugin.is_boundary(step)
        state.step, state.epoch = step, (step - 1) // per_epoch
        plugin.on_step_end(trainer, state)
        due = bool(trainer.control.checkpoint)
        assert due <= bool(announced or step == steps), f"step {step} was not announced before its launch"
        if scores and step in scores:
            if state.best is None or scores[step] < state.best.value:
                state.best = Best("eval_loss", scores[step], step)
            plugin.on_metrics(trainer, state)
        if step % per_epoch == 0:
            plugin.on_epoch_end(trainer, state)
        serve()
    return asked


def test_each_epoch_by_default() -> None:
    assert play(policy(), steps=12) == {
        0: ["before the first update"],
        4: ["end of epoch 1"],
        8: ["end of epoch 2"],
        12: ["end of the training"],
    }


def test_training_that_ends_within_an_epoch() -> None:
    assert list(play(policy(), steps=6)) == [0, 4, 6]


def test_every_n_steps_and_at_the_end() -> None:
    asked = play(policy(save_strategy="steps", save_steps=3), steps=10)
    assert asked == {
        0: ["before the first update"],
        3: ["every 3 steps"],
        6: ["every 3 steps"],
        9: ["every 3 steps"],
        10: ["end of the training"],
    }
    assert list(play(policy(save_strategy="steps", save_steps=5), steps=10)) == [0, 5, 10]


def test_each_new_best() -> None:
    scores = {2: 0.5, 4: 0.6, 6: 0.4, 8: 0.4}
    asked = play(policy(save_strategy="best", at_start=False), steps=9, scores=scores)
    assert asked == {2: ["best eval_loss so far: 0.5"], 6: ["best eval_loss so far: 0.4"]}
    # With the other strategies too: only a best that was saved can be kept.
    assert list(play(policy(at_start=False), steps=9, scores=scores)) == [2, 4, 6, 8, 9]
    assert list(play(policy(save_strategy="steps", save_steps=7), steps=9, scores=scores)) == [0, 2, 6, 7, 9]


def test_never() -> None:
    assert play(policy(save_strategy="no"), scores={2: 0.5, 4: 0.4}, steps=8) == {}


def test_a_resumed_fit_asks_for_no_beginning_and_no_best_of_the_past() -> None:
    assert list(play(policy(), steps=8, start=4)) == [8]
    plugin, trainer = policy(save_strategy="best"), SimpleNamespace(control=Control())
    state = TrainingState(step=8, best=Best("eval_loss", 0.1, 4))
    plugin.on_metrics(trainer, state)
    assert trainer.control.checkpoint == []


def test_boundaries_are_announced() -> None:
    plugin = policy(save_strategy="steps", save_steps=5)
    assert [step for step in range(1, 21) if plugin.is_boundary(step)] == [5, 10, 15, 20]
    assert not any(policy().is_boundary(step) for step in range(1, 21))


@pytest.mark.parametrize("strategy", ["epoch", "no"])
def test_the_disk_is_tried_where_files_have_the_first_weights(strategy: Any) -> None:
    tried: list[int] = []
    trainer = SimpleNamespace(control=Control(asking="checkpoint"), try_disk=lambda: tried.append(trainer.step) or True)
    for step, at_start in ((0, True), (0, False), (4, True)):
        trainer.step = step
        policy(save_strategy=strategy, at_start=at_start).on_fit_start(trainer, TrainingState(step=step))
    assert tried == ([0] if strategy == "epoch" else [])
    assert trainer.control.checkpoint == []


def test_retention() -> None:
    def wanted(alone: bool = True, **settings: Any) -> Retention:
        return policy(**settings).checkpoint_retention(SimpleNamespace(run=SimpleNamespace(alone=alone)))

    found = wanted()
    assert (found.last, found.best, found.whole) == (None, 1, False)
    assert found.finished == Retention(None, 1)
    assert wanted(alone=False).finished == Retention(0, 0)
    assert wanted(alone=False, keep_finished=True).finished == Retention(None, 1)
    assert wanted(keep_finished=False).finished == Retention(0, 0)
    found = wanted(keep_last=5, keep_best=3, keep_whole=True)
    assert (found.last, found.best, found.whole) == (5, 3, True)
    assert found.finished == Retention(5, 3, True)
    assert wanted(alone=False, keep_last=5).finished == Retention(0, 0)
    assert "keep_finished" in found.advice


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, []),
        ({"save_strategy": "steps", "save_steps": 10}, []),
        ({"save_strategy": "steps"}, ["save_strategy"]),
        ({"save_strategy": "no", "save_steps": 10}, ["save_steps"]),
        ({"save_steps": 10}, []),
        ({"save_strategy": "best", "save_steps": 10}, []),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], names: list[str]) -> None:
    assert [name for name, _ in CheckpointPolicy.Config(**settings).problems()] == names


@pytest.mark.parametrize("strategy", ["epoch", "best"])
def test_save_steps_without_the_strategy_is_said(strategy: Any) -> None:
    """As the original module writes it, with all its defaults."""
    said = [("save_steps", f"it has no effect with save_strategy: {strategy}; steps uses it")]
    assert CheckpointPolicy.Config(save_strategy=strategy, save_steps=1000).notes() == said
    assert CheckpointPolicy.Config(save_strategy="steps", save_steps=1000).notes() == []


@pytest.mark.parametrize("strategy", ["best", "epoch", "no"])
@pytest.mark.parametrize("has_validation", [True, False])
def test_a_best_that_nobody_measures(strategy: str, has_validation: bool) -> None:
    problems = policy(save_strategy=strategy).validate_plan(SimpleNamespace(has_validation=has_validation))
    if strategy == "best" and not has_validation:
        assert problems is not None
        assert [problem.path for problem in problems] == [".save_strategy"]
        assert "data.validation" in problems[0].message
    else:
        assert problems is None


def test_who_saves_the_best_exports_it(tiny_config: Callable[..., dict[str, Any]]) -> None:
    """`save_strategy: best` reads as "I get the best model", and the last one was exported."""
    rate = {"optimizer": {"learning_rate": 3e-2}, "scheduler": {"type": "constant"}, "training": {"num_epochs": 5}}
    found = {}
    for strategy in ("best", "epoch"):
        plugins = {"progress": False, "checkpoint": {"save_strategy": strategy}}
        result = create_trainer(config=tiny_config(**rate, plugins=plugins)).train()
        losses = [record["eval_loss"] for record in result.history]
        assert losses.index(min(losses)) < 4, "its last epoch is the best, so that nothing is shown"
        opened = open_trainer(result.directory).evaluate(tiny_config()["data"]["validation"])["eval_loss"]
        assert opened == pytest.approx(result.metrics["eval_loss"], abs=1e-6)
        found[strategy] = result.metrics["eval_loss"]
        assert result.best.value == min(losses)
    assert found["best"] == pytest.approx(min(losses), abs=1e-6)
    assert found["epoch"] == pytest.approx(losses[-1], abs=1e-6)


def test_the_plan_says_that_it_may_ask_for_the_best(tiny_config: Callable[..., dict[str, Any]]) -> None:
    for strategy, asks in (("best", True), ("steps", False), ("no", False)):
        checkpoint = {"save_strategy": strategy, **({"save_steps": 3} if strategy == "steps" else {})}
        plan = describe_plan(tiny_config(plugins={"progress": False, "checkpoint": checkpoint}))
        (found,) = [each["may"] for each in plan["plugins"] if each["name"] == "checkpoint"]
        assert ("best" in found) == asks


def test_a_metric_without_a_direction_is_no_monitor(tiny_config: Callable[..., dict[str, Any]]) -> None:
    """No best was ever found, nothing was saved, and nothing was said."""

    class Share(Metric):
        def reset(self) -> None:
            self.values: list[float] = []

        def update(self, predictions: Any, labels: Any) -> None:
            self.values.append(float(predictions[:, 1].mean()))

        def compute(self) -> float:
            return sum(self.values) / len(self.values)

    tree = tiny_config(training={"monitor": "eval_share", "num_epochs": 1})
    words = r"training\.monitor: expected a metric that declares whether greater is better, got 'eval_share'"
    with pytest.raises(ConfigError, match=words):
        create_trainer(config=tree, metrics=[Share]).train()
    result = create_trainer(config=tree, metrics=[Share], greater_is_better=True).train()
    assert result.best is not None and result.best.metric == "eval_share"
