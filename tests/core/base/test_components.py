"""Components by kind and name: who offers them, and what is said of one that nobody does."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import define

from stepbus.base.components import Component, Components, Selected, components_of
from stepbus.base.errors import PluginError


@define(frozen=True, kw_only=True)
class Width:
    width: int = 1


def part(kind: str, name: str) -> Component:
    return Component(kind, name, Width, lambda settings, extra: settings.width + extra)


@pytest.fixture
def parts() -> Components:
    registry = Components()
    registry.add(part("pooling", "wide"), "heads, stepbus 1")
    registry.add(part("pooling", "mean"), "more, mine 2")
    registry.add(part("metric", "wide"), "metrics, stepbus 1")
    return registry


def test_they_are_found_by_kind_and_name(parts: Components) -> None:
    assert parts.names("pooling") == ["wide", "mean"]
    assert parts.names("head") == []
    assert parts.provider(parts.get("pooling", "wide")) == "heads, stepbus 1"
    assert parts.provider(parts.get("metric", "wide")) == "metrics, stepbus 1"
    assert [(each.kind, each.name, who) for each, who in parts][1] == ("pooling", "mean", "more, mine 2")


def test_a_picked_one_is_built_from_its_settings(parts: Components) -> None:
    picked = Selected(parts.get("pooling", "wide"), Width(width=3))
    assert (picked.name, picked.build(4)) == ("wide", 7)


def test_one_that_nobody_offers_and_one_that_two_do(parts: Components) -> None:
    with pytest.raises(
        PluginError, match=r"^expected a known pooling, got 'wid' \(did you mean 'wide'\?\); known: mean"
    ):
        parts.get("pooling", "wid")
    with pytest.raises(PluginError, match=r"known: none, no plugin that offers one is switched on$"):
        parts.get("head", "wide")
    with pytest.raises(PluginError, match="two plugins offer the pooling 'mean': more, mine 2 and third"):
        parts.add(part("pooling", "mean"), "third")


def picked(build: Any, kind: str = "pooling") -> Selected:
    return Selected(Component(kind, "mine", Width, build), Width())


def exits(settings: Any) -> None:
    sys.exit(0)


def test_one_that_cannot_be_built_says_so() -> None:
    with pytest.raises(
        PluginError, match=r"^the pooling 'mine' cannot be built: ZeroDivisionError: .*or pick another pooling$"
    ):
        picked(lambda settings: 1 / 0).build()
    with pytest.raises(
        PluginError, match=r"the pooling 'mine' cannot be built: SystemExit: 0; .*pick another pooling$"
    ):
        picked(exits).build()
    with pytest.raises(PluginError, match=r"^the metric 'mine' cannot be built: its build returned None; return the"):
        picked(lambda settings: None, "metric").build()


def test_one_of_another_kind_is_refused() -> None:
    assert picked(lambda settings: settings.width).build_a(int) == 1
    with pytest.raises(
        PluginError, match=r"^the optimizer 'mine' cannot be built: .* return a stepbus\.Selected, got 5$"
    ):
        picked(lambda settings: 5, "optimizer").build_a(Selected)


def test_what_a_plugin_offers_is_a_list_of_components() -> None:
    mine = part("metric", "mine")
    assert components_of(SimpleNamespace(components=(mine,)), "mine") == [mine]
    assert components_of(object(), "mine") == []
    for wrong in (mine, "metric", ["metric"], None, {"mine": mine}):
        with pytest.raises(PluginError, match=r"^mine, mine\.py: expected components = \[stepbus\.Component\(…\), …\]"):
            components_of(SimpleNamespace(components=wrong), "mine, mine.py")


def test_what_its_kind_wants_known_is_said() -> None:
    facts = {"tasks": ("binary",), "greater_is_better": None}
    assert Component("metric", "mine", Width, print, facts).unfit() == ""
    assert Component("pooling", "mine", Width, print).unfit() == ""
    assert part("metric", "mine").unfit() == (
        'the metric \'mine\': expected metadata={"tasks": ("binary", …), "greater_is_better": True (or False, or '
        "None)} in its Component, got none"
    )
    assert 'metadata={"task": "binary" (or ' in part("head", "mine").unfit()
    assert Component("metric", "mine", Width, None, facts).unfit() == (  # type: ignore[arg-type]  # that is what is tried
        "the metric 'mine': expected a function as build, got None"
    )
    other = type("Base", (), {})
    assert part("optimizer", "mine").unfit(other) == "the optimizer 'mine': its settings must extend stepbus.Base"
