"""A head is told its classes, where it wants to know them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from attrs import define

from stepbus.base import Component, Components, DataError, ModelError, Selected
from stepbus.compute.models.building import rehearse_head, tell_classes


@define(frozen=True, kw_only=True)
class Ordered:
    order: Any = None


@define(frozen=True, kw_only=True)
class Plain:
    pass


def refuses(classes: tuple[str, ...]) -> None:
    raise DataError(f"no use for {classes}")


def breaks(classes: tuple[str, ...]) -> None:
    raise KeyError("a")


def test_a_head_that_wants_none_is_told_none() -> None:
    told: list[Any] = []
    tell_classes(object(), ["a", "b"])
    tell_classes(SimpleNamespace(take_classes=told.append), ["a", "b"])
    assert told == [("a", "b")]


def test_what_it_refuses_is_said_as_it_stands_and_what_it_breaks_with_is_named() -> None:
    with pytest.raises(DataError, match=r"^no use for"):
        tell_classes(SimpleNamespace(take_classes=refuses), ["a"])
    with pytest.raises(ModelError, match=r"^the head SimpleNamespace: take_classes raised KeyError: 'a'"):
        tell_classes(SimpleNamespace(take_classes=breaks), ["a"])


def test_only_a_head_with_an_order_is_built_to_be_asked() -> None:
    built: list[Any] = []

    def build(settings: Any, hidden_size: int, outputs: int) -> Any:
        built.append(outputs)
        return SimpleNamespace(take_classes=refuses)

    for config, error in ((Ordered, DataError), (Plain, None)):
        head = Selected(Component("head", "mine", config, build, {"task": "multiclass"}), config())
        if error is None:
            rehearse_head(Components(), head, "multiclass", ["a", "b", "c"])
        else:
            with pytest.raises(error, match="no use for"):
                rehearse_head(Components(), head, "multiclass", ["a", "b", "c"])
    assert built == [3]
