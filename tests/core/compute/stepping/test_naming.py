"""Two wrappers that give a number of one name: what is made of the inner one is none, whatever else replaces it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

from stepbus import PluginFailure
from stepbus.base.guards import Maker
from stepbus.base.guards.given import GivenFunction
from stepbus.compute.stepping import Givers, Gradient
from stepbus.compute.stepping.checks import checked_gradient, checked_loss

BATCH = {"x": mx.array([1.0, 2.0]), "weights": mx.ones(2)}


def chained(outer: Callable[..., Any]) -> Callable[..., Any]:
    """Return a loss with a number `kl` of its own in another one, of which `outer` makes named numbers."""
    givers = Givers()
    first = GivenFunction(lambda forward, batch: (batch["x"], {"kl": batch["x"] * 2, "n": mx.array(3)}), Maker("first"))
    inner = checked_loss(first, givers)
    return checked_loss(GivenFunction(lambda f, b: (b["x"], outer(lambda: inner(f, b)[1], b)), Maker("second")), givers)


FINE: list[Callable[..., Any]] = [
    lambda inner, batch: inner(),
    lambda inner, batch: {},
    lambda inner, batch: {**inner(), "own": batch["x"]},
    lambda inner, batch: {name: value.astype(mx.float32) for name, value in inner().items()},
    lambda inner, batch: {name: mx.stop_gradient(value).mean() for name, value in inner().items()},
    lambda inner, batch: {name: (value + inner()[name]) / 2 for name, value in inner().items()},
    lambda inner, batch: [inner() for _ in range(3)][-1],
]
NOT: list[Callable[..., Any]] = [
    lambda inner, batch: {**inner(), "kl": batch["x"]},
    lambda inner, batch: {**inner(), "kl": batch["x"] * 2},
    lambda inner, batch: {**inner(), "kl": mx.array(1.0)},
    lambda inner, batch: {**inner(), "kl": inner()["n"]},
    lambda inner, batch: [inner(), {"kl": batch["x"].sum()}][1],
]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("outer", FINE)
def test_what_is_made_of_the_inner_number_goes_through(outer: Any, compiled: bool) -> None:
    loss = chained(outer)
    call = mx.compile(lambda x: loss(None, {**BATCH, "x": x})) if compiled else lambda x: loss(None, {**BATCH, "x": x})
    assert call(BATCH["x"])[0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("outer", NOT)
def test_a_number_that_replaces_another_is_refused_with_both(outer: Any, compiled: bool) -> None:
    """That of the inner one vanished without a word."""
    loss = chained(outer)
    call = mx.compile(lambda x: loss(None, {**BATCH, "x": x})) if compiled else lambda x: loss(None, {**BATCH, "x": x})
    with pytest.raises(PluginFailure, match=r"^second: expected a name of its own for a scalar, got 'kl', which first"):
        call(BATCH["x"])


def test_a_wrapper_of_the_gradient_does_not_replace_a_number_of_the_loss() -> None:
    makers = {"kl": Maker("first: wrap_loss")}
    givers = Givers(makers)
    gradient = Gradient(givers)
    gradient.function = lambda parameters, batch: (mx.array(1.0), mx.array(1.0), {"kl": mx.array(2.0)}, parameters)

    def wrapped(change: Callable[[mx.array], mx.array]) -> Callable[..., Any]:
        def function(parameters: Any, batch: Any) -> Any:
            total, weight, named, gradients = gradient(parameters, batch)
            return total, weight, {**named, "kl": change(named["kl"])}, gradients

        return checked_gradient(GivenFunction(function, Maker("second: wrap_gradient")), givers)

    assert wrapped(lambda kl: kl * 2)({}, BATCH)[2]["kl"].item() == 4.0
    with pytest.raises(PluginFailure, match=r"^second: wrap_gradient: .*got 'kl', which first: wrap_loss has"):
        wrapped(lambda kl: mx.array(2.0))({}, BATCH)


def test_nothing_of_a_call_is_kept_after_it_even_where_it_failed() -> None:
    givers = Givers()
    inner = checked_loss(GivenFunction(lambda f, b: (b["x"], {"kl": b["x"]}), Maker("first")), givers)

    def fails(forward: Any, batch: Any) -> Any:
        inner(forward, batch)
        raise KeyError("z")

    with pytest.raises(PluginFailure, match=r"KeyError"):
        checked_loss(GivenFunction(fails, Maker("second")), givers)(None, BATCH)
    fresh = checked_loss(GivenFunction(lambda f, b: (b["x"], {"kl": b["x"] + 1}), Maker("third")), givers)
    assert fresh(None, BATCH)[1]["kl"].tolist() == [2.0, 3.0]
    assert givers._calls == []
