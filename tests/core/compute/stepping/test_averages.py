"""What plugins and optimizers offer in place of the weights, looked at where it comes in."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from stepbus import CheckpointError, Optimizer, ParameterUpdater, PluginFailure
from stepbus.base.guards import Maker
from stepbus.compute.stepping import Follower


class Halves(Optimizer):
    """Subtracts the gradient, and offers the mean of where a parameter began and where it stands."""

    def init(self, parameter: mx.array) -> dict[str, mx.array]:
        return {"began": parameter}

    def update(self, parameter: mx.array, gradient: mx.array, state: Any, scalars: Any) -> Any:
        return parameter - gradient, state

    def weights(self, parameter: mx.array, state: Any) -> mx.array:
        return (parameter + state["began"]) / 2


class Plain(Halves):
    weights = Optimizer.weights


class Model:
    def __init__(self, **arrays: mx.array) -> None:
        self.arrays = arrays

    def parameters(self) -> Any:
        return {**self.arrays, "frozen": mx.zeros((3,))}


def updater(optimizer: Optimizer, *weights: Any, dtype: Any = mx.float32) -> ParameterUpdater:
    made = ParameterUpdater(optimizer, 1.0, maker=Maker("the optimizer 'mine'"))
    made.init({"w": mx.array([1.0, 2.0], dtype=dtype)})
    followers = [
        Follower(f"p{at}", Maker(f"p{at}"), {"n": mx.zeros(())}, dict, each) for at, each in enumerate(weights)
    ]
    made.follow_with(followers)
    return made


def test_the_parameters_themselves_count_where_nobody_averages() -> None:
    made = updater(Plain(), None)
    assert (made.averages.plugins, made.averages.optimizer, made.averages.of({"w": mx.zeros((2,))})) == ([], None, {})


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_an_optimizers_average_has_the_number_format_of_the_parameter(dtype: Any) -> None:
    made = updater(Halves(), dtype=dtype)
    assert made.averages.optimizer is not None
    now = {"w": mx.array([3.0, 6.0], dtype=dtype)}
    found = made.averages.of(now)["w"]
    assert found.dtype == dtype
    assert np.array(found.astype(mx.float32)).tolist() == [2.0, 4.0]
    made.averages.begin(now)
    assert np.array(made.averages.of(now)["w"].astype(mx.float32)).tolist() == [3.0, 6.0]


def test_a_plugins_average_is_of_its_arrays_and_of_what_is_trained() -> None:
    made = updater(Plain(), None, lambda parameters, arrays: {"w": parameters["w"] + arrays["n"] + 1})
    now = made.trained(Model(w=mx.array([3.0, 6.0])))
    assert list(now) == ["w"]
    assert [each.name for each in made.averages.plugins] == ["p1"]
    assert np.array(made.averages.of(now)["w"]).tolist() == [4.0, 7.0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda parameters, arrays: 1 / 0, "its weights of parameters and arrays raised ZeroDivisionError"),
        (lambda parameters, arrays: parameters["w"], r"expected \{name: array\} of parameters, got an array \[2\]"),
        (lambda parameters, arrays: {"v": parameters["w"]}, "got 'v', which is none that is trained"),
        (lambda parameters, arrays: {"w": parameters["w"][:1]}, r"'w' as float32 \[2\], got float32 \[1\]"),
        (lambda parameters, arrays: {"w": parameters["w"] > 0}, r"'w' as float32 \[2\], got bool \[2\]"),
        (lambda parameters, arrays: {"w": [1.0, 2.0]}, "got a list"),
        (
            lambda parameters, arrays: {},
            r"each of 1 parameter .*got none of 'w'; give parameters\[name\] for what is not",
        ),
    ],
)
def test_what_is_no_average_names_who_gave_it(given: Any, words: str) -> None:
    with pytest.raises(PluginFailure, match=rf"^p0: (weights: )?.*{words}"):
        updater(Plain(), given).averages.of({"w": mx.zeros((2,))})


def test_an_optimizer_that_fails_is_named() -> None:
    class Fails(Halves):
        def weights(self, parameter: mx.array, state: Any) -> mx.array:
            raise KeyError("z")

    with pytest.raises(PluginFailure, match=r"^the optimizer 'mine': weights raised KeyError"):
        updater(Fails()).averages.of({"w": mx.zeros((2,))})


def test_a_fit_after_another_follows_with_its_own_functions() -> None:
    """Of fits that share one optimizer the second kept the functions of the first one's plugins."""
    first, second = (
        updater(Plain(), lambda parameters, arrays, by=by: {"w": parameters["w"] * by}) for by in (2.0, 3.0)
    )
    first.begin_as(second)
    assert np.array(first.averages.of({"w": mx.ones((2,))})["w"]).tolist() == [3.0, 3.0]


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        ([None], [], "got some of p0; switch p0 on as it was"),
        ([], [None], "got none of p0; switch p0 off as it was"),
        ([None, None], [None], "got some of p1; switch p1 on as it was"),
    ],
)
def test_arrays_of_other_plugins_are_said_in_one_sentence(before: Any, now: Any, words: str) -> None:
    """It was a list of every array, cut after five."""
    with pytest.raises(CheckpointError) as raised:
        updater(Plain(), *now).load_arrays(updater(Plain(), *before).arrays())
    assert str(raised.value) == (
        f"expected what the plugins keep beside the weights, {words}, or begin anew with these weights, by "
        "model.pretrained"
    )


def test_averages_that_are_written_in_place_change_neither_weights_nor_arrays() -> None:
    def weights(parameters: Any, arrays: Any) -> Any:
        parameters["w"] *= 2
        arrays["n"] += 1
        return {"w": parameters["w"] + arrays["n"]}

    made, now = updater(Plain(), weights), {"w": mx.array([3.0, 6.0])}
    for _ in range(2):
        assert np.array(made.averages.of(now)["w"]).tolist() == [7.0, 13.0]
    assert np.array(now["w"]).tolist() == [3.0, 6.0]


def test_weights_of_some_parameters_alone_are_refused() -> None:
    """The others were exported as training had left them, without a word."""
    made = ParameterUpdater(Plain(), 1.0)
    two = {"v": mx.zeros(1), "w": mx.array([1.0, 2.0])}
    made.init(two)
    made.follow_with([Follower("p", Maker("p"), {}, dict, lambda parameters, arrays: {"v": parameters["v"]})])
    with pytest.raises(PluginFailure, match=r"^p: weights: expected each of 2 parameters .*got none of 'w'"):
        made.averages.of(two)
