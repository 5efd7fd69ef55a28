"""The optimizer and the steps of a fit: what a schedule or an optimizer of somebody's own gives is held to its kind."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stepbus import (
    Component,
    OptimizerSettings,
    PluginError,
    PluginFailure,
    Scheduler,
    SchedulerSettings,
    create_trainer,
)


class Own(Scheduler):
    """A schedule that gives what is tried."""

    given: Any = None

    def rate(self, step: int, total_steps: int, base: float) -> Any:
        if self.given == "exit":
            sys.exit(0)
        return self.given


class Offers:
    components = (
        Component("scheduler", "mine", SchedulerSettings, Own),
        Component("scheduler", "bare", SchedulerSettings, type("Bare", (Scheduler,), {})),
        Component("scheduler", "no_schedule", SchedulerSettings, lambda settings: 5),
        Component("optimizer", "no_optimizer", OptimizerSettings, lambda settings: 5),
    )


@pytest.fixture
def train(tiny_config: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    def run(**sections: Any) -> Any:
        config = tiny_config(training={"max_steps": 2, "num_epochs": 1}, **sections)
        return create_trainer(config=config, plugins=[Offers]).train()

    return run


@pytest.mark.parametrize("given", [None, "fast", [1.0], "exit"])
def test_a_schedule_that_gives_no_number_is_named(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, given: Any
) -> None:
    monkeypatch.setattr(Own, "given", given)
    words = (
        r"^the scheduler 'mine': .*its rate of update 1 .*; mend it, or pick another scheduler\.type "
        r"\(Offers \(passed in Python\)\)$"
    )
    with pytest.raises(PluginFailure, match=words):
        train(scheduler={"type": "mine"})


def test_what_a_schedule_gives_is_said_as_python_writes_it(
    train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for given, said in ((None, "None"), (float("nan"), "nan"), (np.float64("inf"), "inf"), (True, "True")):
        monkeypatch.setattr(Own, "given", given)
        with pytest.raises(PluginFailure, match=f"at least 0, got {said}; mend it"):
            train(scheduler={"type": "mine"})


def test_a_schedule_without_its_method_is_told_which(train: Callable[..., Any]) -> None:
    words = (
        r"^the scheduler 'bare': its rate of update 1 raised NotImplementedError: Bare has no "
        r"decayed\(step, total_steps, base\); write it; mend it, or pick another scheduler\.type \(Offers"
    )
    with pytest.raises(PluginFailure, match=words):
        train(scheduler={"type": "bare"})


def test_a_number_of_numpy_will_do(train: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Own, "given", np.float32(0.25))
    assert train(scheduler={"type": "mine"}).steps == 2


@pytest.mark.parametrize(
    ("section", "name", "expected"),
    [("scheduler", "no_schedule", "stepbus.Scheduler"), ("optimizer", "no_optimizer", "stepbus.Optimizer")],
)
def test_what_is_no_part_of_its_kind_is_refused(
    train: Callable[..., Any], section: str, name: str, expected: str
) -> None:
    words = f"the {section} '{name}' cannot be built: expected its build to return a {expected}, got 5"
    with pytest.raises(PluginError, match=words):
        train(**{section: {"type": name}})
