"""Who offers averages of the weights is declared, and two that do are a problem of the plan."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from stepbus import Component, OptimizerSettings, PluginError, Selected
from stepbus.fit.using.providers import averages_of, averaging_problems
from stepbus.kernel import Member


def config(**metadata: Any) -> Any:
    component = Component("optimizer", "mine", OptimizerSettings, lambda settings: None, metadata)
    return SimpleNamespace(optimizer=Selected(component, OptimizerSettings()))


def members(*names: str) -> list[Member]:
    return [Member(name, name, type("Averages", (), {"averages": True})) for name in names]


def words(found: Any) -> list[tuple[str, str]]:
    return [(problem.path, problem.message) for problem in found]


def test_one_alone_is_no_problem() -> None:
    assert averaging_problems(config(), members()) == []
    assert averaging_problems(config(), [*members("ema"), Member("other", "other", object())]) == []
    assert averaging_problems(config(averages=True), members()) == []
    assert averaging_problems(config(averages=False), members("ema")) == []


def test_two_are_named_with_what_to_switch_off() -> None:
    head = "expected one that averages the weights and has its averages evaluated, got"
    assert words(averaging_problems(config(), members("ema", "theirs"))) == [
        ("plugins.theirs", f"{head} ema and theirs; switch ema off or switch theirs off")
    ]
    assert words(averaging_problems(config(averages=True), members("ema"))) == [
        ("plugins.ema", f"{head} ema and optimizer.type: mine; switch ema off or take another optimizer")
    ]
    assert words(averaging_problems(config(averages=True), members("ema", "swa"))) == [
        (
            "plugins.swa",
            f"{head} ema, swa and optimizer.type: mine; leave one alone: switch ema off, switch swa off and take "
            "another optimizer",
        )
    ]


@pytest.mark.parametrize("value", ["yes", 1, None, ("ema",)])
def test_something_else_is_no_declaration(value: Any) -> None:
    with pytest.raises(PluginError, match=r"^mine: expected averages = True or averages = False, got "):
        averages_of(type("Mine", (), {"averages": value}), "mine")


@pytest.mark.parametrize(
    ("metadata", "wrong"),
    [({"averages": "yes"}, "metadata: averages: expected True or False, got 'yes'"), ({"averages": True}, "")],
)
def test_an_optimizer_says_it_in_its_component(metadata: Any, wrong: str) -> None:
    component = Component("optimizer", "mine", OptimizerSettings, lambda settings: None, metadata)
    assert component.unfit(OptimizerSettings).endswith(wrong)
    assert bool(component.unfit(OptimizerSettings)) == bool(wrong)
