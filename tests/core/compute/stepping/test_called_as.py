"""What wrappers are handed says how it is called, and who calls it in another way is named with the line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

from stepbus.base import PluginFailure
from stepbus.base.guards import Maker
from stepbus.base.guards.given import GivenFunction
from stepbus.compute.stepping.checks import checked_gradient, checked_loss, inner_gradient, inner_loss

BATCH = {"labels": mx.array([0, 1]), "weights": mx.array([1.0, 1.0])}
LOSS, GRADIENT = "loss(forward, batch)", "value_and_grad(parameters, batch)"


def forward(batch: Any) -> Any:
    return batch["weights"]


def given(function: Callable[..., Any], hook: str = "wrap_loss") -> GivenFunction:
    return GivenFunction(function, Maker(f"mine: {hook}", mend="mend it"))


def engine(forward: Any, batch: Any) -> Any:
    return forward(batch), {}


def gradient(parameters: Any, batch: Any) -> Any:
    return mx.array(1.0), mx.array(2.0), {}, dict(parameters)


@pytest.mark.parametrize("innermost", [inner_loss(engine), checked_loss(given(inner_loss(engine)))])
def test_an_inner_loss_is_called_in_order_or_by_name(innermost: Any) -> None:
    for found in (innermost(forward, BATCH), innermost(forward, batch=BATCH), innermost(batch=BATCH, forward=forward)):
        assert found[0].tolist() == [1, 1] and found[1] == {}


@pytest.mark.parametrize(
    ("call", "got"),
    [
        (lambda loss: lambda forward, batch: loss(batch), "got loss(dict)"),
        (lambda loss: lambda forward, batch: loss(), "got loss()"),
        (lambda loss: lambda forward, batch: loss(forward, batch, 1), "got loss(function, dict, int)"),
        (lambda loss: lambda forward, batch: loss(forward, rows=batch), "got loss(function, rows=…)"),
        (lambda loss: lambda forward, batch: loss(forward, forward=batch), "got loss(function, forward=…)"),
        (lambda loss: lambda forward, batch: loss(batch, forward), "got loss(dict, function)"),
        (lambda loss: lambda forward, batch: loss(forward(batch), batch), "got loss(array, dict)"),
    ],
)
@pytest.mark.parametrize("innermost", [inner_loss(engine), checked_loss(given(inner_loss(engine)))])
def test_an_inner_loss_that_is_called_in_another_way(innermost: Any, call: Any, got: str) -> None:
    line = call.__code__.co_firstlineno
    with pytest.raises(PluginFailure) as caught:
        checked_loss(given(call(innermost)))(forward, BATCH)
    said = (
        f"mine: wrap_loss: its loss raised TypeError: the inner loss is called as {LOSS}, {got}, at {__file__}:{line}"
    )
    assert str(caught.value) == f"{said}; mend it"


@pytest.mark.parametrize(
    ("call", "got"),
    [
        (lambda inner: lambda parameters, batch: inner(batch), "got value_and_grad(dict)"),
        (lambda inner: lambda parameters, batch: inner([], batch), "got value_and_grad(list, dict)"),
    ],
)
def test_an_inner_gradient_that_is_called_in_another_way(call: Any, got: str) -> None:
    with pytest.raises(PluginFailure) as caught:
        checked_gradient(given(call(inner_gradient(gradient)), "wrap_gradient"))({}, BATCH)
    assert f"the inner value_and_grad is called as {GRADIENT}, {got}, at {__file__}:" in str(caught.value)


@pytest.mark.parametrize(
    ("checked", "first", "words"),
    [
        (checked_loss(given(lambda batch: batch)), forward, f"; it is called as {LOSS}; mend it"),
        (checked_gradient(given(lambda batch: batch)), {}, f"; it is called as {GRADIENT}; mend it"),
    ],
)
def test_a_function_that_takes_something_else_hears_how_it_is_called(checked: Any, first: Any, words: str) -> None:
    with pytest.raises(PluginFailure, match="takes 1 positional argument but 2 were given") as caught:
        checked(first, BATCH)
    assert str(caught.value).endswith(words)


def test_a_mistake_within_is_named_with_its_line() -> None:
    def weighed(forward: Any, batch: Any) -> Any:
        return batch["weigths"], {}

    line = weighed.__code__.co_firstlineno + 1
    with pytest.raises(PluginFailure) as caught:
        checked_loss(given(weighed))(forward, BATCH)
    assert str(caught.value) == f"mine: wrap_loss: its loss raised KeyError: 'weigths', at {__file__}:{line}; mend it"
