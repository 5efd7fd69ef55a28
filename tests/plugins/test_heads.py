"""The heads' losses and predictions, and the poolings, padded and empty rows included."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from stepbus import Component, ModelError
from stepbus_plugins.heads import Heads, LastFourConfig, NoSettings
from stepbus_plugins.heads.outputs import SigmoidHead, SoftmaxHead, ValueHead
from stepbus_plugins.heads.poolings import (
    AttentionPooling,
    ClsPooling,
    LastFour,
    MaxPooling,
    MeanPooling,
    WeightedLayers,
)

D = 6
POOLINGS = {"cls": ClsPooling, "mean": MeanPooling, "max": MaxPooling, "attention": AttentionPooling}


def part(kind: str, name: str) -> Component:
    return next(item for item in Heads.components if (item.kind, item.name) == (kind, name))


def pooling(name: str) -> Any:
    return part("pooling", name).build(NoSettings(), D)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_every_head_says_its_task() -> None:
    tasks = {item.name: item.metadata["task"] for item in Heads.components if item.kind == "head"}
    assert tasks == {
        "auto": None,
        "binary": "binary",
        "multiclass": "multiclass",
        "ordinal": "multiclass",
        "multilabel": "multilabel",
        "regression": "regression",
    }


@pytest.mark.parametrize(("name", "outputs"), [("binary", 2), ("multiclass", 5), ("multilabel", 3), ("regression", 1)])
def test_a_head_is_a_linear_layer_with_the_names_of_a_classifier(name: str, outputs: int) -> None:
    head = part("head", name).build(NoSettings(), D, outputs)
    assert {path: array.shape for path, array in tree_flatten(head.parameters())} == {
        "weight": (outputs, D),
        "bias": (outputs,),
    }
    pooled = mx.array(random(4, D))
    np.testing.assert_allclose(head(pooled), pooled @ head.weight.T + head.bias, atol=1e-6)


@pytest.mark.parametrize(("name", "outputs"), [("binary", 1), ("binary", 3), ("regression", 2), ("auto", 2)])
def test_outputs_that_do_not_fit_are_refused(name: str, outputs: int) -> None:
    with pytest.raises(ModelError, match=f"model.head: {name}"):
        part("head", name).build(NoSettings(), D, outputs)


def test_softmax_loss_and_predictions_follow_the_definition() -> None:
    logits, labels = random(7, 3) * 4, np.array([0, 1, 2, 2, 1, 0, 0], np.int32)
    exp = np.exp(logits.astype(np.float64))
    probabilities = exp / exp.sum(-1, keepdims=True)
    head = SoftmaxHead(D, 3)
    np.testing.assert_allclose(head.predictions(mx.array(logits)), probabilities, atol=1e-6)
    expected = -np.log(probabilities[np.arange(7), labels])
    np.testing.assert_allclose(head.loss(mx.array(logits), mx.array(labels)), expected, atol=1e-5)


def test_sigmoid_loss_is_the_mean_over_a_rows_labels() -> None:
    logits, labels = random(5, 4) * 3, (random(5, 4, seed=1) > 0).astype(np.float32)
    probabilities = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = -(labels * np.log(probabilities) + (1 - labels) * np.log(1 - probabilities)).mean(-1)
    head = SigmoidHead(D, 4)
    np.testing.assert_allclose(head.loss(mx.array(logits), mx.array(labels)), expected, atol=1e-5)
    np.testing.assert_allclose(head.predictions(mx.array(logits)), probabilities, atol=1e-6)


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_regression_loss_takes_targets_with_and_without_an_axis(shape: tuple[int, ...]) -> None:
    logits, labels = random(5, 1), random(*shape, seed=1)
    loss = ValueHead(D, 1).loss(mx.array(logits), mx.array(labels))
    assert loss.shape == (5,)
    np.testing.assert_allclose(loss, (logits.ravel() - labels.ravel()) ** 2, atol=1e-6)
    assert ValueHead(D, 1).predictions(mx.array(logits)).shape == (5, 1)


@pytest.mark.parametrize("head", [SoftmaxHead(D, 2), SigmoidHead(D, 2), ValueHead(D, 1)])
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_losses_and_gradients_stay_finite_at_large_logits(head: Any, size: float) -> None:
    outputs = head.weight.shape[0]
    labels = mx.array([1, 0]) if isinstance(head, SoftmaxHead) else mx.ones((2, outputs))
    logits = mx.concatenate([mx.full((2, 1), size), mx.zeros((2, outputs - 1))], axis=1)
    gradient = mx.grad(lambda x: head.loss(x, labels).sum())(logits)
    assert np.isfinite(np.array(head.loss(logits, labels))).all()
    assert np.isfinite(np.array(gradient)).all()


@pytest.mark.parametrize("head", [SoftmaxHead(D, 3), SigmoidHead(D, 3), ValueHead(D, 1)])
def test_half_precision_logits_are_computed_in_float32(head: Any) -> None:
    outputs = head.weight.shape[0]
    logits = mx.array(random(4, outputs)).astype(mx.bfloat16)
    labels = mx.array([0, 1, 2, 0]) if isinstance(head, SoftmaxHead) else mx.ones((4, outputs))
    assert head.loss(logits, labels).dtype == mx.float32
    assert head.predictions(logits).dtype == mx.float32


def test_mean_and_max_follow_the_definition() -> None:
    hidden, mask = random(3, 5, D), np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]], np.float32)
    real = [hidden[row, mask[row] > 0] for row in range(3)]
    inputs = mx.array(hidden), mx.array(mask)
    np.testing.assert_allclose(pooling("mean")(*inputs), np.stack([x.mean(0) for x in real]), atol=1e-6)
    np.testing.assert_array_equal(pooling("max")(*inputs), np.stack([x.max(0) for x in real]))


def test_attention_is_a_mean_with_weights_that_sum_to_one() -> None:
    hidden, mask = random(2, 5, D), np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]], np.float32)
    pool = pooling("attention")
    result = np.array(pool(mx.array(hidden), mx.array(mask)))
    weight, bias, context = (np.array(x, np.float64) for x in (pool.dense.weight, pool.dense.bias, pool.context.weight))
    for row, length in enumerate((5, 2)):
        x = hidden[row, :length].astype(np.float64)
        scores = np.exp(np.tanh(x @ weight.T + bias) @ context[0])
        np.testing.assert_allclose(result[row], (scores / scores.sum()) @ x, atol=1e-5)


def test_cls_reads_the_first_token_only_and_has_berts_names() -> None:
    pool, hidden, mask = pooling("cls"), mx.array(random(2, 5, D)), mx.ones((2, 5))
    assert pool.first_token_only and pool.in_encoder
    assert sorted(path for path, _ in tree_flatten(pool.parameters())) == ["pooler.dense.bias", "pooler.dense.weight"]
    np.testing.assert_array_equal(pool(hidden, mask), pool(hidden[:, :1], mask))
    dense = pool.pooler["dense"]
    np.testing.assert_allclose(pool(hidden, mask), mx.tanh(hidden[:, 0] @ dense.weight.T + dense.bias), atol=1e-6)


@pytest.mark.parametrize("name", ["mean", "max", "attention"])
@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(0, 7), min_size=1, max_size=4), more=st.integers(0, 9), seed=st.integers(0, 99))
def test_padding_changes_nothing_and_empty_rows_are_zero(name: str, lengths: list[int], more: int, seed: int) -> None:
    pool, width = pooling(name), 7 + more
    mask = (np.arange(width) < np.array(lengths)[:, None]).astype(np.float32)
    hidden = random(len(lengths), width, D, seed=seed)
    result = np.array(pool(mx.array(hidden), mx.array(mask)))
    # What stands at padded places does not matter, nor how many of them there are.
    other = np.where(mask[..., None] > 0, hidden, 1e4).astype(np.float32)[:, :7]
    np.testing.assert_allclose(pool(mx.array(other), mx.array(mask[:, :7])), result, atol=1e-5)
    empty = np.array(lengths) == 0
    assert (result[empty] == 0).all()


@pytest.mark.parametrize("name", sorted(POOLINGS))
def test_gradients_are_finite_with_an_empty_row_and_zero_there(name: str) -> None:
    pool = pooling(name)
    mask = mx.array([[1.0, 1, 1], [0, 0, 0]])

    def total(hidden: mx.array) -> mx.array:
        return mx.square(pool(hidden, mask)).sum()

    gradient = np.array(mx.grad(total)(mx.array(random(2, 3, D))))
    assert np.isfinite(gradient).all()
    assert np.abs(gradient[0]).sum() > 0
    if name != "cls":  # cls reads the first token whatever the mask says; such a row's loss weighs 0
        assert (gradient[1] == 0).all()
    if tree_flatten(pool.parameters()):
        parameters = nn.value_and_grad(pool, total)(mx.array(random(2, 3, D)))[1]
        assert all(np.isfinite(np.array(array)).all() for _, array in tree_flatten(parameters))


def test_the_maximum_of_equal_values_has_the_whole_gradient_once() -> None:
    hidden, mask = mx.ones((1, 4, 1)), mx.array([[1.0, 1, 0, 0]])
    gradient = mx.grad(lambda x: MaxPooling()(x, mask).sum())(hidden)
    assert float(gradient.sum()) == pytest.approx(1)
    assert float(gradient[:, 2:].sum()) == 0


@pytest.mark.parametrize("classes", [2, 5])
def test_soft_labels_at_0_and_1_are_hard_ones(classes: int) -> None:
    """Losses and gradients are equal to the last bit; between 0 and 1 they are the cross-entropy."""
    head, logits = SoftmaxHead(D, classes), mx.array(random(7, classes, seed=3) * 4)
    hard = np.random.default_rng(1).integers(0, classes, 7).astype(np.int32)
    sure = np.eye(classes, dtype=np.float32)[hard]

    def sums(labels: Any) -> Any:
        return lambda logits: (head.loss(logits, mx.array(labels)) * mx.array(np.arange(7.0) - 2)).sum()

    assert np.array(head.loss(logits, mx.array(hard))).tolist() == np.array(head.loss(logits, mx.array(sure))).tolist()
    one, other = (np.array(mx.grad(sums(labels))(logits)) for labels in (hard, sure))
    np.testing.assert_allclose(one, other, atol=1e-6)
    soft = np.random.default_rng(2).dirichlet(np.ones(classes), 7)
    values = np.array(logits, np.float64)
    expected = -(soft * (values - np.log(np.exp(values).sum(axis=1, keepdims=True)))).sum(axis=1)
    found = np.array(head.loss(logits, mx.array(soft.astype(np.float32))))
    np.testing.assert_allclose(found, expected, atol=2e-6)
    # Padding rows have no labels at all; what they cost is multiplied by 0, so it has to be finite.
    assert np.isfinite(np.array(head.loss(logits, mx.zeros((7, classes))))).all()


def test_soft_labels_of_single_labels() -> None:
    head, logits = SigmoidHead(D, 3), mx.array(random(4, 3, seed=3) * 4)
    soft = np.random.default_rng(2).random((4, 3))
    chances = 1 / (1 + np.exp(-np.array(logits, np.float64)))
    expected = -(soft * np.log(chances) + (1 - soft) * np.log(1 - chances)).mean(axis=1)
    np.testing.assert_allclose(np.array(head.loss(logits, mx.array(soft.astype(np.float32)))), expected, atol=2e-6)


def states(layers: int, rows: int = 3, length: int = 5) -> list[np.ndarray]:
    return [random(rows, length, D, seed=seed) for seed in range(layers + 1)]


MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]], np.float32)


def means(hidden: np.ndarray) -> np.ndarray:
    """The mean of each row's real tokens, 0 for none."""
    rows = zip(hidden.astype(float), MASK, strict=True)
    return np.stack([x[m > 0].mean(0) if m.any() else np.zeros(D) for x, m in rows])


def test_weighted_layers_follow_equation_1_of_elmo() -> None:
    pool, hidden = part("pooling", "weighted_layers").build(NoSettings(), D, layers=2), states(2)
    assert pool.all_layers and {path: a.shape for path, a in tree_flatten(pool.parameters())} == {
        "weights": (3,),
        "gamma": (1,),
    }
    inputs = [mx.array(each) for each in hidden], mx.array(MASK)
    np.testing.assert_allclose(pool(*inputs), np.mean([means(each) for each in hidden], axis=0), atol=1e-6)
    pool.weights, pool.gamma = mx.array([0.5, -1.0, 2.0]), mx.array([1.7])
    shares = np.exp([0.5, -1.0, 2.0]) / np.exp([0.5, -1.0, 2.0]).sum()
    expected = 1.7 * sum(share * means(each) for share, each in zip(shares, hidden, strict=True))
    np.testing.assert_allclose(pool(*inputs), expected, atol=1e-6)
    gradients = nn.value_and_grad(pool, lambda *given: mx.square(pool(*given)).sum())(*inputs)[1]
    # By hand: y = gamma Σ s_j m_j, so dy/dw_j = gamma s_j (m_j - Σ s_k m_k), and dy/dgamma = y / gamma.
    mixed = expected / 1.7
    by_weight = [(2 * expected * 1.7 * s * (means(each) - mixed)).sum() for s, each in zip(shares, hidden, strict=True)]
    np.testing.assert_allclose(gradients["weights"], by_weight, rtol=1e-4)
    np.testing.assert_allclose(gradients["gamma"], [(2 * expected * mixed).sum()], rtol=1e-5)


@pytest.mark.parametrize(("tokens", "layers"), [("mean", 4), ("cls", 4), ("mean", 6), ("cls", 6)])
def test_the_last_four_layers_lie_beside_each_other(tokens: str, layers: int) -> None:
    pool, hidden = part("pooling", "last_four").build(LastFourConfig(tokens=tokens), D, layers=layers), states(layers)
    assert (pool.all_layers, pool.output_size, pool.first_token_only) == (True, 4 * D, tokens == "cls")
    of_layer = [each[:, 0] if tokens == "cls" else means(each) for each in hidden[-4:]]
    given = [mx.array(each) for each in hidden]
    result = pool(given, mx.array(MASK))
    np.testing.assert_allclose(result, np.concatenate(of_layer, axis=1), atol=1e-6)
    if tokens == "cls":
        np.testing.assert_array_equal(pool([*given[:-1], given[-1][:, :1]], mx.array(MASK)), result)


def test_four_layers_are_not_to_be_had_of_three() -> None:
    with pytest.raises(
        ModelError, match="last_four: expected a model of at least 4 layers, got 3 layers; use weighted_"
    ):
        part("pooling", "last_four").build(LastFourConfig(), D, layers=3)


@pytest.mark.parametrize("pool", [WeightedLayers(5), LastFour(D, first=False), LastFour(D, first=True)])
def test_poolings_of_all_layers_keep_the_number_format(pool: Any) -> None:
    given = [mx.array(each).astype(mx.bfloat16) for each in states(5)]
    assert pool.apply(lambda array: array.astype(mx.bfloat16))(given, mx.array(MASK)).dtype == mx.bfloat16
