"""R-Drop against PyTorch (tests/fixtures/rdrop), and what it does around losses that call the model otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from stepbus import StepbusError
from stepbus_plugins.rdrop import divergence_of, twice

CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "rdrop" / "rdrop.json").read_text())


def row_losses(task: str, outputs: mx.array, labels: mx.array) -> mx.array:
    if task == "multiclass":
        picked = mx.take_along_axis(outputs, labels[:, None], axis=-1).squeeze(-1)
        return mx.logsumexp(outputs, axis=-1) - picked
    if task == "multilabel":
        return (mx.logaddexp(outputs, mx.array(0.0)) - outputs * labels).mean(axis=-1)
    return mx.square(outputs - labels).mean(axis=-1)


def loss_of(task: str) -> Callable[[Any, Any], Any]:
    return lambda forward, batch: (row_losses(task, forward(batch), batch["labels"]), {})


class Masked:
    """A linear model that drops features by the next of some masks at each call."""

    def __init__(self, matrix: mx.array, masks: list[mx.array]) -> None:
        self.matrix, self.masks = matrix, iter(masks)

    def __call__(self, batch: Any) -> mx.array:
        return self.logits(batch["x"])

    def logits(self, pooled: mx.array) -> mx.array:
        return (pooled * next(self.masks)) @ self.matrix

    def head(self, pooled: mx.array) -> mx.array:
        return pooled @ self.matrix

    def pooled(self, batch: Any) -> mx.array:
        return batch["x"]


@pytest.mark.parametrize("task", CASES)
def test_loss_divergence_and_gradient_are_pytorchs(task: str) -> None:
    case = CASES[task]
    batch = {"x": mx.array(case["x"]), "labels": mx.array(case["labels"])}
    masks, weights = [mx.array(mask) for mask in case["masks"]], mx.array(case["weights"])
    loss = twice(loss_of(task), case["alpha"], divergence_of(task))

    def total(matrix: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        rows, named = loss(Masked(matrix, masks), batch)
        return (rows * weights).sum(), rows, named["rdrop_kl"]

    (_, rows, kl), gradient = mx.value_and_grad(total)(mx.array(case["matrix"]))
    assert np.mean(case["kl"]) > 0.1  # else a divergence that is left out would pass
    np.testing.assert_allclose(rows, case["rows"], rtol=2e-6)
    np.testing.assert_allclose(kl, case["kl"], rtol=2e-6, atol=1e-7)  # two equal masks give 0
    np.testing.assert_allclose(gradient, case["gradient"], rtol=1e-5, atol=2e-6)


def kl_in_numpy(first: Any, second: Any) -> Any:
    p, q = (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True) for logits in np.array([first, second], np.float64))
    return ((p * np.log(p / q)).sum(-1) + (q * np.log(q / p)).sum(-1)) / 2


def test_a_single_output_is_the_logit_of_the_second_class() -> None:
    """Two classes by one logit z are two by the logits 0 and z; outputs [B] and [B, 1] are the same."""
    first, second = np.array([0.3, -2.0, 4.0]), np.array([0.1, 1.5, -3.0])
    expected = kl_in_numpy(*(np.stack([np.zeros(3), each], axis=-1) for each in (first, second)))
    for shape in ((3,), (3, 1)):
        found = divergence_of("binary")(*(mx.array(each.reshape(shape), mx.float32) for each in (first, second)))
        np.testing.assert_allclose(found, expected, rtol=5e-6)  # a difference of near numbers in float32


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
def test_extreme_outputs_give_finite_numbers_and_gradients(task: str) -> None:
    far = mx.array([[1e4, -1e4], [-1e4, 1e4], [0.0, 0.0]])
    divergence = divergence_of(task)
    value, gradients = mx.value_and_grad(lambda a, b: divergence(a, b).sum(), argnums=(0, 1))(far, -far)
    assert bool(mx.isfinite(mx.stack([value, *(each.sum() for each in gradients)])).all())
    assert divergence(far, far).tolist() == [0.0, 0.0, 0.0]


def test_the_named_numbers_of_the_loss_inside_are_means_of_both_passes() -> None:
    given = iter([3.0, 5.0])

    def inside(forward: Any, batch: Any) -> Any:
        return forward(batch).sum(axis=-1), {"other": mx.array(next(given))}

    masks = [mx.ones((2, 2)), 2 * mx.ones((2, 2))]
    rows, named = twice(inside, 0.5, divergence_of("regression"))(Masked(mx.eye(2), masks), {"x": mx.ones((2, 2))})
    assert named["other"].item() == 4.0
    assert named["rdrop_kl"].tolist() == [1.0, 1.0]  # outputs 1 and 2
    assert rows.tolist() == [3.5, 3.5]  # the mean of 2 and 4, and half of 1


def test_a_loss_inside_that_calls_the_model_often_is_compared_call_by_call() -> None:
    """Two samples of pooled vectors: the first with the first, the second with the second of the other pass."""

    def inside(forward: Any, batch: Any) -> Any:
        pooled = forward.pooled(batch)
        return (forward.logits(pooled) + forward.head(pooled)).sum(axis=-1), {}

    masks = [mx.ones((1, 2)), 4 * mx.ones((1, 2))]
    _, named = twice(inside, 1.0, divergence_of("regression"))(Masked(mx.eye(2), masks), {"x": mx.ones((1, 2))})
    assert named["rdrop_kl"].tolist() == [4.5]  # (1 - 4)² of the first, 0 of the second


def test_a_loss_that_does_not_call_the_model_is_refused() -> None:
    loss = twice(lambda forward, batch: (mx.ones(2), {}), 1.0, divergence_of("binary"))
    with pytest.raises(StepbusError, match=r"^rdrop: expected a loss that calls the model equally often .* 0 and 0"):
        loss(None, {})


def test_a_second_one_around_it_is_refused() -> None:
    once = twice(loss_of("regression"), 1.0, divergence_of("regression"))
    model = Masked(mx.eye(2), [mx.ones((1, 2))] * 4)
    with pytest.raises(StepbusError, match="name rdrop once"):
        twice(once, 1.0, divergence_of("regression"))(model, {"x": mx.ones((1, 2)), "labels": mx.ones((1, 2))})
