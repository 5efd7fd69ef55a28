"""What compares equal exactly where it is traced alike."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import attrs
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from stepbus.compute.stepping.alike.fingerprints import Unknown, of_model, of_value


@attrs.frozen
class Settings:
    size: int = 3
    names: tuple[str, ...] = ("a", "b")


class Holder:
    def __init__(self, value: Any) -> None:
        self.value = value


def plus(a: int, b: int) -> int:
    return a + b


@pytest.mark.parametrize(
    "make",
    [
        lambda: Settings(),
        lambda: Holder({"x": [1, 2.5, None, "s", True], "y": {1, 2}}),
        lambda: functools.partial(plus, 1),
        lambda: (mx.float32, int, plus),
        lambda: float("nan"),
    ],
)
def test_what_is_made_alike_is_equal(make: Callable[[], Any]) -> None:
    assert of_value(make()) == of_value(make())


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (1, 1.0),
        (1, True),
        (0.0, -0.0),
        ([1], (1,)),
        (Settings(), Settings(size=4)),
        (Holder(1), Holder(2)),
        (functools.partial(plus, 1), functools.partial(plus, 2)),
        (mx.float32, mx.float16),
        (plus, lambda a, b: a + b),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),  # what walks over it walks in another order
    ],
)
def test_what_differs_is_not(one: Any, two: Any) -> None:
    assert of_value(one) != of_value(two)


def endless() -> Any:
    holder = Holder(None)
    holder.value = holder
    return holder


@pytest.mark.parametrize(
    "value", [mx.array(1), np.zeros(2), [np.zeros(2)], Holder(mx.array(1)), nn.Linear(1, 1), endless(), iter([1])]
)
def test_what_nobody_can_compare_is_unknown(value: Any) -> None:
    with pytest.raises(Unknown):
        of_value(value)


class Net(nn.Module):
    def __init__(self, size: int = 4, rate: float = 0.1, hidden: Any = None) -> None:
        super().__init__()
        self.layers = [nn.Linear(size, size), nn.Dropout(rate)]
        self._table = mx.zeros((2, size))
        self.extra = hidden


def frozen() -> Net:
    net = Net()
    net.layers[0].freeze(keys=["bias"])
    return net


def other_type() -> Net:
    net = Net()
    net.layers[0].weight = net.layers[0].weight.astype(mx.bfloat16)
    return net


def other_table() -> Net:
    net = Net()
    net._table = mx.zeros((3, 4))
    return net


def test_models_of_one_kind_are_alike_whatever_their_weights() -> None:
    assert of_model(Net()) == of_model(Net())
    evaluating = Net()
    evaluating.eval()
    assert of_model(evaluating) == of_model(Net())


@pytest.mark.parametrize(
    "make",
    [
        lambda: Net(size=5),
        lambda: Net(rate=0.2),
        lambda: Net(hidden="x"),
        lambda: nn.Sequential(*Net().layers),
        frozen,
        other_type,
        other_table,
    ],
)
def test_models_that_compute_otherwise_are_not(make: Callable[[], Any]) -> None:
    assert of_model(make()) != of_model(Net())


def test_a_model_that_holds_a_live_object_is_unknown() -> None:
    with pytest.raises(Unknown):
        of_model(Net(hidden=Holder(np.zeros(2))))
