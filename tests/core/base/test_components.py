"""Components by kind and name: who offers them, and what is said of one that nobody does."""

from __future__ import annotations

import pytest
from attrs import define

from stepbus.base.components import Component, Components, Selected
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
