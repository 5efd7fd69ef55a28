"""The loss that a configuration picks: for which labels it is, and what it is told of them."""

from __future__ import annotations

from typing import Any

import pytest

from stepbus.base import Component, Components, DataError, PluginError, Selected
from stepbus.compute.losses import LossFacts, built_loss
from stepbus.config import BASES

FACTS = LossFacts("binary", ("no", "yes"), 2, (3.0, 1.0), 4.0)


def components(build: Any) -> Components:
    found = Components()
    for name, tasks in (("mine", ("binary",)), ("auto", ("binary", "regression")), ("far", ("regression",))):
        found.add(Component("loss", name, BASES["loss"], build, {"tasks": tasks}), "my-pack 1.0")
    return found


def picked(found: Components, name: str) -> Selected:
    part = found.get("loss", name)
    return Selected(part, part.config(), found.provider(part))


def test_a_loss_is_told_the_facts_and_auto_is_the_heads_own() -> None:
    told: list[Any] = []
    found = components(lambda settings, facts: told.append((settings, facts)) or max)
    assert built_loss(found, picked(found, "mine"), FACTS) is max
    assert told == [(BASES["loss"](), FACTS)]
    assert built_loss(found, picked(found, "auto"), FACTS) is None


def test_one_for_other_labels_names_those_that_would_do() -> None:
    found = components(lambda settings, facts: max)
    with pytest.raises(DataError) as caught:
        built_loss(found, picked(found, "far"), FACTS)
    assert str(caught.value) == (
        "loss.type: expected a loss for binary labels, got far, which is for regression; take mine or auto"
    )


def test_what_is_no_function_is_refused() -> None:
    found = components(lambda settings, facts: 3)
    with pytest.raises(PluginError, match=r"^the loss 'mine': expected its build to return a function .* got 3"):
        built_loss(found, picked(found, "mine"), FACTS)
