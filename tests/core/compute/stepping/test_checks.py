"""What wrappers of the loss and of the gradient may give, and that what they are handed is their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

from stepbus import PluginError, PluginFailure
from stepbus.base.guards import Maker
from stepbus.base.guards.given import GivenFunction
from stepbus.compute.stepping.checks import Misnamed, checked_gradient, checked_loss
from stepbus.compute.stepping.naming import Givers

BATCH = {"x": mx.ones((3, 2)), "weights": mx.ones(3)}
PARAMETERS = {"a": mx.ones(2), "b": mx.ones((2, 2))}


def given(function: Callable[..., Any], who: str = "mine") -> GivenFunction:
    return GivenFunction(function, Maker(who))


def inner(parameters: Any, batch: Any) -> Any:
    return mx.array(1.0), mx.array(3.0), {"n": mx.array(2.0)}, {name: mx.ones_like(parameters[name]) for name in "ab"}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (mx.zeros(3, dtype=mx.int32), r"row losses as floating-point numbers, got int32 \[3\]"),
        (mx.zeros(3) > 1, r"row losses as floating-point numbers, got bool \[3\]"),
        (mx.zeros(3).astype(mx.complex64), r"floating-point numbers, got complex64 \[3\]"),
        ((mx.zeros(3), {}, 1), "from its loss, got a tuple of 3"),
        ([mx.zeros(3)], "from its loss, got a list of 1"),
    ],
)
def test_a_loss_without_a_gradient_is_refused(found: Any, words: str) -> None:
    """The loss was 0 and the gradient too, without a word."""
    returned = found if isinstance(found, tuple | list) else (found, {})
    with pytest.raises(PluginFailure, match=f"^mine: .*{words}"):
        checked_loss(given(lambda forward, batch: returned))(None, BATCH)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16, mx.float32])
def test_row_losses_of_any_floating_point_kind_are_taken_as_float32(dtype: Any) -> None:
    rows, named = checked_loss(given(lambda f, b: (mx.ones(3, dtype=dtype), {"hits": mx.array([1, 0, 1])})))(
        None, BATCH
    )
    assert (rows.dtype, named["hits"].dtype, named["hits"].tolist()) == (mx.float32, mx.float32, [1.0, 0.0, 1.0])


def of(total: Any = None, weight: Any = None, named: Any = None, **gradients: Any) -> Callable[..., Any]:
    """Return a value_and_grad whose answer differs from a right one."""

    def value_and_grad(parameters: Any, batch: Any) -> Any:
        right = inner(parameters, batch)
        parts = [new if new is not None else old for new, old in zip((total, weight, named), right[:3], strict=True)]
        return (*parts, {**right[3], **gradients})

    return value_and_grad


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (of(a=mx.ones(2, dtype=mx.int32)), r"that of 'a' as float32, got int32 \[2\]"),
        (of(b=mx.ones((2, 2), dtype=mx.float16)), r"that of 'b' as float32, got float16 \[2, 2\]"),
        (of(total=mx.array(3)), r"the total as float32, got int32 \[\]"),
        (of(weight=mx.array(3)), r"the weight as float32, got int32 \[\]"),
        (lambda parameters, batch: list(inner(parameters, batch)[:3]), "from its value_and_grad, got a list of 3"),
        (lambda parameters, batch: (), "got a tuple of 0"),
    ],
)
def test_a_gradient_is_float32_throughout(wrong: Any, words: str) -> None:
    with pytest.raises(PluginFailure, match=f"^mine: .*{words}"):
        checked_gradient(given(wrong))(PARAMETERS, BATCH)


def test_named_numbers_of_other_kinds_are_cast() -> None:
    _, _, named, _ = checked_gradient(given(of(named={"rows": mx.array(4), "late": mx.array(True)})))(PARAMETERS, BATCH)
    assert {name: (value.dtype, value.item()) for name, value in named.items()} == {
        "rows": (mx.float32, 4.0),
        "late": (mx.float32, 1.0),
    }


def test_what_one_wrapper_writes_into_reaches_no_other() -> None:
    """Names that one took out of the batch were gone for the next, and weights moved in place stayed moved."""

    def loss(forward: Any, batch: Any) -> Any:
        batch.pop("x")
        return batch.pop("weights"), {}

    rows, _ = checked_loss(given(loss))(None, BATCH)
    assert rows.tolist() == [1.0] * 3

    def gradient(parameters: Any, batch: Any) -> Any:
        batch.clear()
        parameters["a"] += 5
        parameters["b"][0, 0] = 9
        found = inner(parameters, batch)
        parameters.clear()
        return found

    checked_gradient(given(gradient))(PARAMETERS, BATCH)
    assert list(BATCH) == ["x", "weights"]
    assert (PARAMETERS["a"].tolist(), PARAMETERS["b"].tolist()) == ([1.0, 1.0], [[1.0, 1.0], [1.0, 1.0]])


def test_who_asks_at_a_parameter_that_there_is_none_of_is_named() -> None:
    def engine(parameters: Any, batch: Any) -> Any:
        for name in parameters.keys() - PARAMETERS.keys():
            raise Misnamed(name, f"no {name}")
        return inner(parameters, batch)

    through = checked_gradient(given(engine, "inner"))
    outer = checked_gradient(given(lambda parameters, batch: through({**parameters, "c": mx.ones(1)}, batch), "outer"))
    with pytest.raises(PluginError, match=r"^outer: no c"):
        outer(PARAMETERS, BATCH)


def test_the_innermost_that_gives_a_name_is_who_gave_it() -> None:
    givers = Givers()
    first = checked_loss(given(lambda f, b: (b["weights"], {"kl": b["weights"]}), "first"), givers)
    second = checked_loss(
        given(lambda f, b: (first(f, b)[0], {**first(f, b)[1], "own": mx.array(0.0)}), "second"), givers
    )
    second(None, BATCH)
    assert {name: maker.said for name, maker in givers.makers.items()} == {"kl": "first", "own": "second"}
