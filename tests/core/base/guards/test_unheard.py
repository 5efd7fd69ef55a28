"""Hooks in parts that are on no bus are refused: when one is picked, when it is built, when it is passed in Python."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from attrs import define

from stepbus import (
    BadInput,
    Component,
    LossSettings,
    Metric,
    ModelSettings,
    Optimizer,
    OptimizerSettings,
    Scheduler,
    SchedulerSettings,
    create_trainer,
    hookimpl,
    load_config,
)
from stepbus.author import problems_of
from stepbus.base.guards import unheard_hooks
from stepbus.config.discovery import LoadedPlugin
from stepbus.testing import assert_conforms

Config = Callable[..., dict[str, Any]]
SAID = "it has the hook on_metrics, which nobody would call, because of all parts only a scheduler hears hooks; move it"


@define(frozen=True, kw_only=True)
class Nothing:
    """No settings."""


class Hooked:
    """What has a hook."""

    @hookimpl
    def on_metrics(self, metrics: Any) -> None:
        """Be called."""


class HookedHead(Hooked, nn.Module):
    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, outputs)

    def __call__(self, pooled: mx.array) -> mx.array:
        return self.out(pooled)

    def loss(self, logits: mx.array, labels: mx.array) -> mx.array:
        return nn.losses.cross_entropy(logits, labels)

    def predictions(self, logits: mx.array) -> mx.array:
        return mx.softmax(logits, axis=-1)


class HeadAround(nn.Module):
    """A head without hooks, in which lies one with a hook."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.inner = HookedHead(width, outputs)

    def __call__(self, pooled: mx.array) -> mx.array:
        return self.inner(pooled)

    def loss(self, logits: mx.array, labels: mx.array) -> mx.array:
        return self.inner.loss(logits, labels)

    def predictions(self, logits: mx.array) -> mx.array:
        return self.inner.predictions(logits)


class HookedLoss(Hooked):
    def __call__(self, logits: mx.array, labels: mx.array) -> mx.array:
        return nn.losses.cross_entropy(logits, labels)


class HookedSigns(Hooked, Optimizer):
    def init(self, parameter: mx.array) -> dict[str, mx.array]:
        return {}

    def update(self, parameter: mx.array, gradient: mx.array, state: Any, scalars: Any) -> Any:
        return parameter - scalars["learning_rate"] * mx.sign(gradient), state


class HookedMetric(Hooked):
    def __call__(self, labels: Any, predictions: Any) -> float:
        return 1.0


class HookedFunction(Hooked):
    def __call__(self, step: int, total_steps: int, base: float) -> float:
        return base


class Pool(Hooked, nn.Module):
    def __call__(self, hidden: mx.array, mask: mx.array) -> mx.array:
        return hidden[:, 0]


TASKS = ("binary", "multiclass", "multilabel", "regression")
PARTS = {
    "head": Component("head", "mine", Nothing, lambda settings, w, k: HookedHead(w, k), {"task": None}),
    "head inside": Component("head", "mine", Nothing, lambda settings, w, k: HeadAround(w, k), {"task": None}),
    "pooling": Component("pooling", "mine", Nothing, lambda settings, *sizes: Pool()),
    "loss": Component("loss", "mine", LossSettings, lambda settings, facts: HookedLoss(), {"tasks": ("binary",)}),
    "optimizer": Component("optimizer", "mine", OptimizerSettings, lambda settings: HookedSigns()),
    "metric": Component(
        "metric", "mine", Nothing, lambda settings: HookedMetric(), {"tasks": TASKS, "greater_is_better": True}
    ),
    "scheduler": Component("scheduler", "mine", SchedulerSettings, lambda settings: HookedFunction()),
}


def offering(part: Component) -> type:
    return type("Offers", (), {"__doc__": "Offer a part.", "components": [part]})


def picking(part: Component) -> dict[str, Any]:
    return {
        "head": {"model": {"head": "mine"}},
        "pooling": {"model": {"pooling": "mine"}},
        "metric": {"training": {"metrics": ["mine"]}},
    }.get(part.kind, {part.kind: "mine"})


@pytest.mark.parametrize("name", PARTS)
def test_a_built_part_with_a_hook_is_refused(name: str, tiny_config: Config) -> None:
    part = PARTS[name]
    said = SAID if part.kind != "scheduler" else "; extend stepbus.Scheduler"
    with pytest.raises(BadInput, match=rf"^the {part.kind} 'mine' .*{said}"):
        create_trainer(config=tiny_config(**picking(part)), plugins=[offering(part)]).train()


@pytest.mark.parametrize("name", PARTS)
def test_doctor_and_conformance_say_the_same(name: str) -> None:
    part, said = PARTS[name], SAID.partition(";")[0]
    loaded = LoadedPlugin("mine", offering(part), "mine 1.0")
    assert [said in problem for problem in problems_of(loaded)] == [True], problems_of(loaded)
    with pytest.raises(AssertionError, match=f"is well made.*{said}"):
        assert_conforms(offering(part))


def test_a_class_that_is_a_build_is_refused_with_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from stepbus import Component, Optimizer, OptimizerSettings, hookimpl\n"
        "class Mine(Optimizer):\n"
        "    def __init__(self, settings): pass\n"
        "    @hookimpl\n"
        "    def on_step_end(self, step): pass\n"
        "    @hookimpl\n"
        "    def on_metrics(self, metrics): pass\n"
        "class Offers:\n"
        '    """Offer it."""\n'
        '    components = [Component("optimizer", "mine", OptimizerSettings, Mine)]\n'
    )
    (tmp_path / "run.yaml").write_text("optimizer: mine\nplugins:\n  offers: {use: ./mine.py:Offers}\n")
    said = "the optimizer 'mine': it has the hooks on_metrics and on_step_end, which nobody would call, .* move them"
    with pytest.raises(BadInput, match=rf"run\.yaml:3: .*{said} into a plugin class"):
        load_config(tmp_path / "run.yaml")


def test_a_model_or_loss_of_ones_own_is_refused_unless_it_is_a_plugin_too(tmp_path: Path) -> None:
    class Net(Hooked, nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(2, 2)

    net, loss = Net(), HookedLoss()
    config = {"environment": {"output_dir": str(tmp_path)}}
    with pytest.raises(BadInput, match=r"^model: it has the hook on_metrics, .*plugins=\[model\]"):
        create_trainer(net, config=config, loss=lambda outputs, labels: outputs.sum(axis=-1))
    with pytest.raises(BadInput, match=r"^loss: it has the hook on_metrics, .*plugins=\[loss\]"):
        create_trainer(nn.Linear(2, 2), config=config, loss=loss)
    create_trainer(net, config=config, loss=loss, plugins=[net, loss])


def test_a_metric_that_is_the_plugin_itself_hears_its_hooks(tiny_config: Config) -> None:
    class Counts(Metric):
        heard = 0

        def reset(self) -> None:
            self.rows = 0

        def update(self, predictions: Any, targets: Any) -> None:
            self.rows += len(targets)

        def compute(self) -> float:
            return float(self.rows)

        @hookimpl
        def on_metrics(self, metrics: Any) -> None:
            self.heard += 1

    counts = Counts()
    create_trainer(config=tiny_config(training={"num_epochs": 1}), metrics=[counts]).train()
    assert counts.heard == 1
    with pytest.raises(BadInput, match=r"^the metric 'counts' .*it has the hook on_metrics"):
        create_trainer(config=tiny_config(training={"num_epochs": 1}), metrics=[Counts]).train()


def test_a_schedule_and_what_has_no_hooks_are_fine() -> None:
    class Schedule(Hooked, Scheduler):
        """One that listens."""

    assert unheard_hooks(Schedule(SchedulerSettings()), "scheduler") == ""
    assert unheard_hooks(nn.Linear(2, 2), "head") == ""
    assert unheard_hooks(ModelSettings, "model") == ""
