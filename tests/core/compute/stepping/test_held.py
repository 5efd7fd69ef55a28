"""What functions hold from outside is compared by value, and what cannot be compared raises no alarm."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import attrs
import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from stepbus.base import PluginError
from stepbus.base.guards import Maker
from stepbus.compute.stepping.held import held, same_held

MINE = Maker("Mine: wrap_loss")
FACTOR = 1.0


@attrs.frozen
class Settings:
    size: float = 3.0
    words: tuple[str, ...] = ("a", "b")


class Holder:
    """A plugin that keeps values, reads some in its functions, and counts."""

    def __init__(self, value: Any) -> None:
        self.value, self.name, self.calls, self.seen = value, repr(value), hash(repr(value)), [value]

    def method(self, x: Any) -> Any:
        return x * self.value

    def within(self, x: Any) -> Any:
        return self.method(x)

    def quiet(self, x: Any) -> Any:
        self.calls += 1
        self.seen.append(x)
        return x

    def __call__(self, x: Any) -> Any:
        return x * self.value


class Other:
    def __init__(self, value: Any) -> None:
        self.value = value


def closing(value: Any) -> Callable[[Any], Any]:
    return lambda x: (x, value)


def default(value: Any) -> Callable[..., Any]:
    def function(x: Any, factor: Any = value) -> Any:
        return x, factor

    return function


def keyword(value: Any) -> Callable[..., Any]:
    def function(x: Any, *, factor: Any = value) -> Any:
        return x, factor

    return function


def inner(value: Any) -> Callable[[Any], Any]:
    helper = closing(value)
    return lambda x: helper(x)


def of_self(value: Any) -> Callable[[Any], Any]:
    holder = Holder(value)
    return lambda x: x * holder.value


def plus(a: Any, b: Any) -> Any:
    return a + b


def compared(one: Any, other: Any) -> bool:
    return same_held(held([(MINE, one)]), held([(MINE, other)]))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (closing, "value"),
        (default, "factor"),
        (keyword, "factor"),
        (inner, "helper.value"),
        (of_self, "holder.value"),
        (lambda value: Holder(value).method, "self.value"),
        (lambda value: Holder(value).within, "self.method.self.value"),
        (Holder, "self.value"),
        (functools.partial(functools.partial, plus), "argument 1"),
        (lambda value: functools.partial(plus, b=value), "b"),
        (lambda value: closing([1, {"x": value}]), "value[1]['x']"),
        (lambda value: closing(Settings(value)), "value.size"),
    ],
)
@pytest.mark.parametrize(("one", "other"), [(0.1, 0.5), (1, True), ("a", "b"), (None, 0), (0.0, -0.0)])
def test_plain_values_that_differ_are_refused_by_name(make: Any, name: str, one: Any, other: Any) -> None:
    assert compared(make(one), make(one))
    with pytest.raises(PluginError) as caught:
        compared(make(one), make(other))
    said = "Mine: wrap_loss: expected a trace_key of its own for a fit that computes something else, got that of the "
    said += f"fit whose compiled step would be used: {name} is {other!r} in this fit, and was {one!r} there; put it "
    assert str(caught.value) == said + "into trace_key"


def test_a_number_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    def scaled(x: Any) -> Any:
        return x * FACTOR

    before = held([(MINE, scaled)])
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    with pytest.raises(PluginError, match=r"FACTOR is 2\.0 in this fit, and was 1\.0 there"):
        same_held(before, held([(MINE, scaled)]))


@pytest.mark.parametrize("value", [float("nan"), np.float32(0.5), mx.float16, np.dtype("int8"), {1, 2}, b"x", 2j])
def test_equal_values_are_equal(value: Any) -> None:
    assert compared(closing(value), closing(value))


def test_another_function() -> None:
    with pytest.raises(PluginError, match=r"the function is 'default\.<locals>\.function \(test_held\.py:\d+\)' in"):
        compared(closing(1), default(1))


def test_a_function_in_one_fit_only() -> None:
    one = held([(MINE, closing(1))])
    with pytest.raises(PluginError, match="it gives none in this fit, and gave a function there"):
        same_held(one, [])
    with pytest.raises(PluginError, match="it gives a function in this fit, and gave none there"):
        same_held([], one)


@pytest.mark.parametrize("make", [mx.array, np.array])
def test_arrays_make_steps_of_their_own_where_they_differ(make: Any) -> None:
    assert compared(closing(make([1.0, float("nan")])), closing(make([1.0, float("nan")])))
    assert compared(closing({"a": [make([1])]}), closing({"a": [make([1])]}))
    assert not compared(closing(make([1.0])), closing(make([2.0])))
    assert not compared(closing(make([1.0])), closing(make([1.0, 1.0])))
    assert not compared(closing(make([1.0])), closing(None))


@pytest.mark.parametrize(
    "make",
    [
        lambda value: Holder(value).quiet,
        lambda value: closing(Other(value)),
        lambda value: closing(nn.Linear(value, 3)),
        lambda value: closing(type(f"Named{value}", (), {})),
        lambda value: closing(np.random.default_rng(value)),
        lambda value: mx.array,
    ],
)
def test_what_cannot_be_compared_or_is_not_read_raises_no_alarm(make: Any) -> None:
    assert compared(make(1), make(2))


def test_what_holds_itself_comes_to_an_end() -> None:
    def make(value: int) -> Any:
        holds: list[Any] = [value]
        holds.append(holds)

        def function(x: Any) -> Any:
            return function, holds, x

        return function

    assert compared(make(1), make(1))
    with pytest.raises(PluginError, match=r"holds\[0\] is 2"):
        compared(make(1), make(2))
