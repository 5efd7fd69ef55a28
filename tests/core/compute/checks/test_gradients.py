"""What functions over gradients may give, where the step is traced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest
from mlx.utils import tree_map

from stepbus.base.errors import PluginFailure
from stepbus.base.guards.given import GivenFunction
from stepbus.base.guards.makers import Maker
from stepbus.compute.checks.gradients import transformed

GRADIENTS = {"head": {"weight": mx.ones((2, 3))}, "layers": [{"bias": mx.ones(2)}, {"bias": mx.ones(2)}]}


def given(function: Callable[[Any], Any], who: str = "mine, my-pack 1.0") -> GivenFunction:
    return GivenFunction(function, Maker(f"{who}: transform_gradients", mend=f"switch {who} off"))


def write(tree: dict[str, Any], **items: Any) -> dict[str, Any]:
    """Change a tree in place, and return it."""
    for name, item in items.items():
        if item is None:
            tree.pop(name)
        else:
            tree[name] = item
    return tree


def widened(tree: Any) -> Any:
    tree["layers"][0]["bias"] += mx.ones((3, 2))
    return tree


def emptied(tree: Any) -> Any:
    tree.clear()
    return tree


def test_functions_are_chained_and_scalars_collected() -> None:
    halved = given(lambda tree: (tree_map(lambda array: array / 2, tree), {"first": mx.array(1.0)}))
    summed = given(lambda tree: (tree, {"second": tree["head"]["weight"].sum().reshape(1)}))
    gradients, scalars = transformed([halved, given(lambda tree: tree), summed], GRADIENTS)
    assert {name: value.item() for name, value in scalars.items()} == {"first": 1.0, "second": 3.0}
    assert gradients["layers"][1]["bias"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda tree: {"head": tree["head"]}, "of each of 3 parameters, got 1 of them, and none of 'layers.0.bias'"),
        (lambda tree: {**tree, "more": mx.ones(2)}, "got one of 'more' too"),
        (lambda tree: tree_map(lambda array: array.astype(mx.bfloat16), tree), r"float32 \[2, 3\], got bfloat16"),
        (lambda tree: tree_map(lambda array: array[:1], tree), r"\[2, 3\], got float32 \[1, 3\]"),
        (lambda tree: None, "expected gradients, or .*got None"),
        (lambda tree: {}, "expected gradients, or .*got none"),
        (lambda tree: (tree, None), "got None beside the gradients"),
        (lambda tree: (tree, {"a": 1.0}), "the scalar 'a' as an array of one number, got 1.0"),
        (lambda tree: (tree, {"a": mx.ones(2)}), r"the scalar 'a' as an array of one number, got an array \[2\]"),
        (lambda tree: (tree, {3: mx.ones(1)}), "a text as the name of a scalar, got 3"),
        (lambda tree: (tree, {"epoch": mx.ones(1)}), "got 'epoch', which the log has anyway"),
        (lambda tree: write(tree, head=None), "of each of 3 parameters, got 2 of them, and none of 'head.weight'"),
        (lambda tree: write(tree, more=mx.ones(2)), "got one of 'more' too"),
        (
            lambda tree: write(tree, head={"weight": mx.ones(6)}),
            r"'head.weight' as float32 \[2, 3\], got float32 \[6\]",
        ),
        (widened, r"'layers.0.bias' as float32 \[2\], got float32 \[3, 2\]"),
        (emptied, "expected gradients, or .*got none"),
        (lambda tree: tree["head"].sum(), "AttributeError: 'dict' object has no attribute 'sum'; gradients are a tree"),
        (lambda tree: tree["layers"] * 0.5, "TypeError: .*; gradients are a tree.*tree_map"),
        (lambda tree: tree["heads"], "its function of gradients raised KeyError: 'heads', at .*; switch"),
        (lambda tree: 1 / 0, "its function of gradients raised ZeroDivisionError"),
    ],
)
def test_what_no_step_can_use_is_refused(function: Callable[[Any], Any], words: str) -> None:
    with pytest.raises(PluginFailure, match=rf"^mine, my-pack 1.0: transform_gradients: .*{words}"):
        transformed([given(function)], GRADIENTS)


def test_two_of_one_name_are_named_both() -> None:
    twice = [given(lambda tree: (tree, {"norm": mx.ones(1)}), who) for who in ("first", "second")]
    with pytest.raises(PluginFailure, match=r"^second: .*got 'norm', which first: transform_gradients has"):
        transformed(twice, GRADIENTS)


def test_a_name_that_the_loss_has_is_named_with_both() -> None:
    """The number of the loss vanished without a word."""
    norm = given(lambda tree: (tree, {"norm": mx.ones(1)}), "second")
    with pytest.raises(PluginFailure, match=r"^second: .*got 'norm', which first: wrap_loss has"):
        transformed([norm], GRADIENTS, {"norm": Maker("first: wrap_loss")})
    assert list(transformed([norm], GRADIENTS, {"other": Maker("first: wrap_loss")})[1]) == ["norm"]


def test_what_a_function_writes_in_place_is_its_result_alone() -> None:
    def doubled(tree: Any) -> Any:
        tree["head"]["weight"] *= 2
        tree["layers"][1]["bias"][0] = 7
        return tree

    gradients, _ = transformed([given(doubled), given(doubled)], GRADIENTS)
    assert gradients["head"]["weight"].tolist() == [[4.0] * 3] * 2
    assert gradients["layers"][1]["bias"].tolist() == [7.0, 1.0]
    assert GRADIENTS["head"]["weight"].tolist() == [[1.0] * 3] * 2  # type: ignore[call-overload]
    assert GRADIENTS["layers"][1]["bias"].tolist() == [1.0, 1.0]  # type: ignore[index]
