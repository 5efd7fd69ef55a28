"""Which entries of a batch a module's call takes, and what of its answer a loss gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stepbus import ModelError
from stepbus.compute.module_calls import ModuleCall, Signature, arguments

# After the fast BLAS.
import mlx.core as mx  # isort: skip
import mlx.nn as nn  # isort: skip

X = mx.arange(6, dtype=mx.float32).reshape(3, 2)
BATCH = {"x": X, "labels": mx.array([0, 1, 1]), "weights": mx.ones(3)}


def module(call: Callable[..., Any]) -> Any:
    """Return a module whose call is a function without self."""
    kind = type("Mine", (nn.Module,), {"__call__": staticmethod(call)})
    return kind()


def calling(call: Callable[..., Any], **more: Any) -> ModuleCall:
    model = module(call)
    return ModuleCall(model, Signature.of(model), **more)


@pytest.mark.parametrize(
    ("call", "names", "labels", "placed", "named"),
    [
        (lambda x: x, ["x", "labels", "weights"], False, [], ["x"]),
        (lambda x: x, ["images", "labels", "weights"], False, ["images"], []),
        (lambda x, mask=None: x, ["mask", "x", "labels"], False, [], ["mask", "x"]),
        (lambda x, mask=None: x, ["images", "labels"], False, ["images"], []),
        (lambda x, labels: x, ["x", "labels"], True, [], ["x", "labels"]),
        (lambda x, labels=None: x, ["images", "labels"], True, ["images"], ["labels"]),
        (lambda x, labels=None: x, ["images", "labels"], False, ["images"], []),
        (lambda x, weights: x, ["x", "weights", "labels"], False, [], ["x", "weights"]),
        (lambda **inputs: inputs, ["a", "b", "labels", "weights"], False, [], ["a", "b"]),
        (lambda **inputs: inputs, ["a", "b", "labels", "weights"], True, [], ["a", "b", "labels"]),
        (lambda a, **others: a, ["a", "b", "labels"], False, [], ["a", "b"]),
        (lambda *inputs: inputs, ["x", "labels"], False, ["x"], []),
        (lambda x=None: x, ["images"], False, ["images"], []),
        (lambda ids: ids, ["ids", "labels"], False, [], ["ids"]),
    ],
)
def test_entries_go_to_the_parameters_of_their_name(
    call: Any, names: list[str], labels: bool, placed: list[str], named: list[str]
) -> None:
    assert arguments(Signature.of(module(call)), names, labels=labels) == (placed, named)


@pytest.mark.parametrize(
    ("call", "names", "said"),
    [
        (lambda x, mask: x, ["x", "labels"], r"\(x and mask\), or a single one, got x;"),
        (lambda x: x, ["a", "b", "labels"], r"\(x\), or a single one, got a and b;"),
        (lambda x: x, ["labels", "weights"], r"\(x\), or a single one, got none;"),
        (lambda *, x: x, ["a"], r"\(x\), or a single one, got a;"),
    ],
)
def test_entries_that_do_not_fit_are_said(call: Any, names: list[str], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        arguments(Signature.of(module(call)), names, labels=False)


def test_layers_of_mlx_take_a_single_input() -> None:
    assert Signature.of(nn.Sequential(nn.Linear(2, 3))) == Signature(("x",), ("x",), "x", everything=False)


def test_a_loss_gets_the_outputs() -> None:
    np.testing.assert_array_equal(calling(lambda x: 2 * x)(BATCH), 2 * X)
    np.testing.assert_array_equal(calling(lambda x, labels: x * labels[:, None])(BATCH), [[0, 0], [2, 3], [4, 5]])
    both = calling(lambda x, labels=None: (x.sum(), 3 * x), own_loss=True)
    np.testing.assert_array_equal(both(BATCH), 3 * X)


def test_inputs_come_in_the_precision_and_outputs_in_float32() -> None:
    seen: list[Any] = []
    assert calling(lambda x: seen.append(x.dtype) or x, precision=mx.bfloat16)(BATCH).dtype == mx.float32
    assert seen == [mx.bfloat16]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda call: call(BATCH), "expected outputs beside the loss, for a plugin's loss reads them, got the loss"),
        (lambda call: call.pooled(BATCH), "expected a classifier of text, whose pooled vectors a plugin's loss reads"),
        (lambda call: call.logits(X), "expected a classifier of text, whose pooled vectors a plugin's loss reads"),
        (lambda call: call.head(X), "expected a classifier of text, whose pooled vectors a plugin's loss reads"),
    ],
    ids=["outputs", "pooled", "logits", "head"],
)
def test_what_a_module_does_not_say_is_refused(asked: Any, said: str) -> None:
    with pytest.raises(ModelError, match=f"^Mine: {said}"):
        asked(calling(lambda x, labels=None: x.sum(), own_loss=True))
