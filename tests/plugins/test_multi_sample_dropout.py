"""Multi-sample dropout against NumPy under fixed masks, and what of the model runs how often."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from stepbus import ModelError, StepbusError
from stepbus_plugins.multi_sample_dropout import masked, sampled
from stepbus_plugins.rdrop import divergence_of, twice


class Model:
    """A head over inputs to which the number of the encoder's run is added, as other dropout would."""

    def __init__(self, matrix: mx.array) -> None:
        self.matrix, self.runs = matrix, 0

    def pooled(self, batch: Any) -> mx.array:
        self.runs += 1
        return batch["x"] + self.runs

    def head(self, pooled: mx.array) -> mx.array:
        return pooled @ self.matrix

    def __call__(self, batch: Any) -> mx.array:
        raise AssertionError("the model's own dropout would be in it")

    logits = __call__


def squares(forward: Any, batch: Any) -> Any:
    outputs = forward(batch)
    return mx.square(outputs - batch["labels"]).sum(axis=-1), {"size": mx.abs(outputs).mean(), "row": outputs[:, 0]}


def test_losses_numbers_and_gradient_are_the_means_over_the_masks() -> None:
    draw = np.random.default_rng(3)
    x, matrix, labels = draw.normal(size=(4, 6)), draw.normal(size=(6, 2)), draw.normal(size=(4, 2))
    masks = draw.integers(0, 2, (3, 4, 6)) * 2.0
    pooled = x + 1  # one run of the encoder
    outputs = np.stack([(pooled * mask) @ matrix for mask in masks])
    rows = np.square(outputs - labels).sum(-1).mean(0)
    gradient = np.mean([(pooled * mask).T @ (2 * (out - labels)) for mask, out in zip(masks, outputs, strict=True)], 0)

    given = iter([mx.array(mask, mx.float32) for mask in masks])
    loss = sampled(squares, 3, lambda vectors: vectors * next(given))
    batch = {"x": mx.array(x, mx.float32), "labels": mx.array(labels, mx.float32)}

    def total(values: mx.array) -> Any:
        found, named = loss(Model(values), batch)
        return found.sum(), found, named

    (_, found, named), back = mx.value_and_grad(total)(mx.array(matrix, mx.float32))
    np.testing.assert_allclose(found, rows, rtol=2e-6)
    np.testing.assert_allclose(back, gradient, rtol=1e-5, atol=1e-5)
    assert named["size"].item() == pytest.approx(np.abs(outputs).mean(), rel=1e-6)
    np.testing.assert_allclose(named["row"], outputs[:, :, 0].mean(0), rtol=1e-5)


def run(loss: Any, batch: Any, samples: int = 3) -> tuple[Model, Any]:
    model = Model(mx.eye(2))
    return model, sampled(loss, samples, lambda vectors: vectors)(model, batch)


def test_the_encoder_runs_once_for_all_samples() -> None:
    model, (rows, _) = run(squares, {"x": mx.zeros((1, 2)), "labels": mx.zeros((1, 2))}, samples=7)
    assert (model.runs, rows.tolist()) == (1, [2.0])


def test_two_passes_of_a_loss_inside_stay_two_passes() -> None:
    """R-Drop inside: the encoder runs twice, and each sample compares its two runs, 1 and 2."""
    inside = twice(lambda forward, batch: (forward(batch)[:, 0], {}), 1.0, divergence_of("regression"))
    model, (rows, named) = run(inside, {"x": mx.zeros((1, 2))})
    assert (model.runs, named["rdrop_kl"].tolist(), rows.tolist()) == (2, [1.0], [2.5])


def test_r_drop_around_it_compares_sample_by_sample() -> None:
    model = Model(mx.eye(2))
    around = twice(sampled(lambda f, b: (f(b)[:, 0], {}), 3, lambda vectors: vectors), 1.0, divergence_of("regression"))
    rows, named = around(model, {"x": mx.zeros((1, 2))})
    assert (model.runs, named["rdrop_kl"].tolist(), rows.tolist()) == (2, [1.0], [2.5])


def test_other_inputs_are_encoded_anew_and_other_labels_are_not() -> None:
    def on_copies(forward: Any, batch: Any) -> Any:
        return squares(forward, {**batch, "x": batch["x"] * 1})

    def under_labels(forward: Any, batch: Any) -> Any:
        return squares(forward, {**batch, "labels": batch["labels"] * 1, "weights": mx.ones(1)})

    batch = {"x": mx.zeros((1, 2)), "labels": mx.zeros((1, 2))}
    assert (run(on_copies, batch)[0].runs, run(under_labels, batch)[0].runs) == (3, 1)


def test_nothing_is_replayed_for_the_next_batch() -> None:
    model = Model(mx.eye(2))
    loss = sampled(squares, 2, lambda vectors: vectors)
    x, labels = mx.zeros((1, 2)), mx.zeros((1, 2))
    assert [loss(model, {"x": x, "labels": labels})[0].item() for _ in range(2)] == [2.0, 8.0]


def test_the_dropout_drops_its_share_and_keeps_the_mean() -> None:
    mx.random.seed(0)
    dropped = np.array(masked(0.25)(mx.ones((400, 500))))
    assert sorted(set(dropped.ravel().tolist())) == pytest.approx([0.0, 4 / 3])
    assert (dropped == 0).mean() == pytest.approx(0.25, abs=0.005)
    assert not np.array_equal(dropped, np.array(masked(0.25)(mx.ones((400, 500)))))


def test_a_model_without_pooled_vectors_is_refused() -> None:
    with pytest.raises(ModelError, match=r"^multi_sample_dropout: expected a model with pooled vectors"):
        sampled(squares, 2, masked(0.5))(lambda batch: batch["x"], {"x": mx.ones((1, 2))})


def test_a_loss_that_never_calls_the_model_is_refused() -> None:
    with pytest.raises(StepbusError, match="expected a loss that calls the model, got one that never did"):
        run(lambda forward, batch: (mx.ones(1), {}), {})
