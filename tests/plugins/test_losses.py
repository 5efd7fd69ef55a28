"""Losses against PyTorch and scikit-learn: values and gradients, weights, smoothing, soft labels, extreme logits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepbus import ConfigError, DataError, LossFacts, load_config, mx
from stepbus.compute.checks.parts import shape_of
from stepbus.compute.stepping.alike.fingerprints import of_value
from stepbus_plugins.heads import OrdinalSettings, _ordinal
from stepbus_plugins.losses import Losses
from stepbus_plugins.losses.weighing import class_weights, positive_weights

FIXTURE = json.loads((Path(__file__).parents[1] / "fixtures" / "losses" / "losses.json").read_text())
WEIGHTS = np.array(FIXTURE["weights"])
CASES = {name: case for name, case in FIXTURE["cases"].items() if "mean" in case and "settings" in case}
PARTS = {part.name: part for part in Losses.components}


def facts_for(name: str, outputs: int) -> LossFacts:
    task = "binary" if outputs == 2 else "multiclass"
    if name.startswith(("bce", "focal multilabel")):
        task = "multilabel"
    if outputs == 1:
        task = "regression"
    return LossFacts(task, tuple(map(str, range(outputs))), outputs)


def made(loss: str, facts: LossFacts, **settings: Any) -> Any:
    part = PARTS[loss]
    return part.build(part.config(**settings), facts)


def as_labels(labels: Any) -> mx.array:
    return mx.array(labels, dtype=mx.float32 if isinstance(np.ravel(labels)[0].item(), float) else mx.int32)


@pytest.mark.parametrize("name", CASES)
def test_rows_mean_and_gradient_are_those_of_pytorch(name: str) -> None:
    case = CASES[name]
    logits, labels = mx.array(case["logits"]), as_labels(case["labels"])
    loss = made(name.split()[0], facts_for(name, logits.shape[1]), **case["settings"])
    rows = loss(logits, labels)
    np.testing.assert_allclose(rows, case["rows"], rtol=2e-5, atol=1e-6)
    weights = mx.array(WEIGHTS.astype(np.float32))

    def mean(logits: mx.array) -> mx.array:
        return (loss(logits, labels) * weights).sum() / weights.sum()

    value, gradient = mx.value_and_grad(mean)(logits)
    assert value.item() == pytest.approx(case.get("scikit-learn", case["mean"]), rel=1e-5)
    assert value.item() == pytest.approx(case["mean"], rel=1e-5)
    np.testing.assert_allclose(gradient, case["gradient"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_extreme_logits_stay_finite(name: str) -> None:
    """1e4 apart, a probability is 0 in float32, and its logarithm is not."""
    case = CASES[name]
    number, outputs = np.shape(case["logits"])
    loss, labels = made(name.split()[0], facts_for(name, outputs), **case["settings"]), as_labels(case["labels"])
    for row in ([1e4, -1e4], [-1e4, 1e4], [1e4, 1e4], [0.0, 0.0], [-1e4, -1e4]):
        logits = mx.array(np.resize(np.array(row, np.float32), outputs)[None].repeat(number, axis=0))
        value, gradient = mx.value_and_grad(lambda logits: loss(logits, labels).sum())(logits)
        assert np.isfinite(value.item()), row
        assert np.isfinite(np.array(gradient)).all(), row


def test_a_sure_and_right_row_costs_nothing_and_a_sure_and_wrong_one_its_logit() -> None:
    logits, labels = mx.array([[1e4, 0.0], [1e4, 0.0]]), mx.array([0, 1])
    for loss in (made("cross_entropy", facts_for("", 2)), made("focal", facts_for("", 2), gamma=0.5)):
        assert loss(logits, labels).tolist() == [0.0, 1e4]


def test_logits_that_are_large_alike_lose_no_digits() -> None:
    loss = made("cross_entropy", facts_for("", 3))
    assert loss(mx.full((1, 3), 1e4), mx.array([1])).item() == pytest.approx(np.log(3), rel=1e-6)


def test_two_batches_are_one_big_batch() -> None:
    """With the mean of PyTorch they are not: it divides by the class weights of each batch."""
    case = CASES["cross_entropy 3 hard 0.0 weighed"]
    loss = made("cross_entropy", facts_for("", 3), **case["settings"])
    logits, labels, weights = mx.array(case["logits"]), as_labels(case["labels"]), WEIGHTS
    rows = [np.array(loss(logits[part], labels[part])) * weights[part] for part in (slice(0, 2), slice(2, 6))]
    assert sum(map(np.sum, rows)) / weights.sum() == pytest.approx(case["mean"], rel=1e-6)


def test_balanced_is_that_of_scikit_learn_and_over_all_rows_the_mean_of_pytorch() -> None:
    case = FIXTURE["cases"]["balanced"]
    labels = np.array(case["labels"])
    counts = tuple(np.bincount(labels).astype(float).tolist())
    facts = LossFacts("multiclass", ("a", "b", "c"), 3, counts, float(len(labels)))
    assert class_weights("balanced", facts) == pytest.approx(case["weights"], rel=1e-9)
    loss = made("cross_entropy", facts, class_weights="balanced")
    rows = loss(mx.array(case["logits"]), mx.array(labels))
    assert np.mean(np.array(rows)) == pytest.approx(case["mean"], rel=1e-5)


def test_balanced_counts_rows_by_their_weights() -> None:
    facts = LossFacts("binary", ("no", "yes"), 2, (6.0, 2.0), 8.0)
    assert class_weights("balanced", facts) == (8 / 12, 8 / 4)
    assert positive_weights("balanced", LossFacts("multilabel", ("a", "b"), 2, (6.0, 2.0), 8.0)) == (2 / 6, 3.0)
    assert positive_weights(3, LossFacts("multilabel", ("a", "b"), 2)) == (3.0, 3.0)


def test_weights_by_name_stand_in_the_order_of_the_outputs() -> None:
    facts = LossFacts("multiclass", ("bad", "good", "ok"), 3)
    assert class_weights({"ok": 2.0, "bad": 1.0, "good": 0.0}, facts) == (1.0, 0.0, 2.0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1.0, 2.0], "loss.class_weights: expected 3 numbers, for bad, good and ok, got 2"),
        (
            {"bad": 1.0, "god": 1.0, "ok": 1.0},
            "loss.class_weights: expected the name of a class (bad, good and ok), got 'god' (did you mean 'good'?)",
        ),
        ({"bad": 1.0, "good": 1.0}, "loss.class_weights: expected a number for each class, got none for 'ok'"),
        (
            "balanced",
            "loss.class_weights: expected training rows of each class to balance, got none of 'good'; write a number "
            "for each class",
        ),
    ],
)
def test_weights_that_do_not_fit_the_classes_are_refused(given: Any, said: str) -> None:
    facts = LossFacts("multiclass", ("bad", "good", "ok"), 3, (2.0, 0.0, 1.0), 3.0)
    with pytest.raises(DataError) as caught:
        made("cross_entropy", facts, class_weights=given)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("loss", "facts", "settings", "said"),
    [
        ("focal", LossFacts("multiclass", ("a", "b", "c"), 3), {"alpha": 0.2}, "loss.alpha: expected none for 3 "),
        (
            "focal",
            LossFacts("multilabel", ("a", "b"), 2),
            {"class_weights": [1.0, 2.0]},
            "loss.class_weights: expected none for multilabel",
        ),
        (
            "cross_entropy",
            LossFacts("binary", ("a", "b"), 2),
            {"class_weights": "balanced"},
            "loss.class_weights: expected numbers, because nothing says how often each is there",
        ),
        (
            "bce",
            LossFacts("multilabel", ("a", "b"), 2, (1.0, 4.0), 4.0),
            {"positive_weights": "balanced"},
            r"loss.positive_weights: .* got none in which 'b' is not; write",
        ),
        (
            "bce",
            LossFacts("multilabel", ("a", "b"), 2, (0.0, 4.0), 4.0),
            {"positive_weights": "balanced"},
            r"loss.positive_weights: .* got none in which 'a' is true; write",
        ),
        ("ordinal", LossFacts("multiclass", ("bad", "good", "ok"), 3), {}, "loss.order: expected the classes from the"),
        (
            "ordinal",
            LossFacts("multiclass", ("a", "b", "c"), 3, order=("a", "c", "b")),
            {"order": ["a", "b", "c"]},
            "loss.order: expected the order of the head, a, c and b, got a, b and c; leave it out",
        ),
    ],
)
def test_settings_that_do_not_fit_the_labels_are_refused(loss: str, facts: LossFacts, settings: Any, said: str) -> None:
    with pytest.raises(DataError, match=f"^{said}"):
        made(loss, facts, **settings)


def test_the_order_is_that_of_the_head_where_the_loss_says_none() -> None:
    facts = LossFacts("multiclass", ("bad", "good", "ok"), 3, order=("bad", "ok", "good"))
    assert made("ordinal", facts).order == (0, 2, 1)
    assert made("ordinal", facts, order=["bad", "ok", "good"]).order == (0, 2, 1)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"type": "cross_entropy", "label_smoothing": 1.0}, "label_smoothing: expected a number from 0 up to, but not"),
        ({"type": "cross_entropy", "class_weights": "even"}, "class_weights: expected balanced, a number for each"),
        ({"type": "cross_entropy", "class_weights": [0.0, 0.0]}, "class_weights: expected balanced, a number for each"),
        ({"type": "cross_entropy", "class_weights": [-1.0, 1.0]}, "class_weights: expected balanced, a number for"),
        ({"type": "focal", "gamma": -1.0}, "gamma: expected a finite number of at least 0, got -1.0"),
        ({"type": "focal", "alpha": 0.2, "class_weights": [1, 2]}, "alpha: expected either alpha or class_weights"),
        ({"type": "huber", "delta": 0.0}, "delta: expected a finite number above 0, got 0.0"),
        ({"type": "quantile", "quantile": 1.0}, "quantile: expected a number between 0 and 1, got 1.0"),
        ({"type": "cross_entropi"}, "expected a known loss, got 'cross_entropi' (did you mean 'cross_entropy'?)"),
        ({"type": "mse", "delta": 1.0}, "expected a known setting, got 'delta'"),
        ({"type": "bce", "positive_weights": -1.0}, "positive_weights: expected one number, balanced, a number"),
    ],
)
def test_settings_that_no_labels_could_have_are_refused_at_once(section: Any, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config({"loss": section})
    assert said in str(caught.value)


def test_class_names_that_yaml_takes_for_numbers_are_names(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("loss: {type: cross_entropy, class_weights: {0: 1, 1: 5}}\n")
    assert load_config(file).loss.settings.class_weights == {"0": 1.0, "1": 5.0}


def test_losses_of_equal_settings_share_compiled_steps() -> None:
    facts = LossFacts("binary", ("a", "b"), 2, (3.0, 1.0), 4.0)
    one, same = (made("cross_entropy", facts, class_weights="balanced") for _ in range(2))
    other = made("cross_entropy", facts, class_weights=[1.0, 2.0])
    assert of_value(one) == of_value(same) != of_value(other)


# -- the head of ordered classes --------------------------------------------------------------------------------------


def ordinal_head(outputs: int = 5, width: int = 3, order: list[str] | None = None) -> Any:
    return _ordinal(OrdinalSettings(order=order), width, outputs)


def test_the_ordinal_head_gives_proportional_odds_and_its_loss_is_that_of_coral() -> None:
    case = FIXTURE["cases"]["head"]
    head, loss = ordinal_head(), made("ordinal", facts_for("", 5))
    parameters = {name: mx.array(case[name]) for name in ("weight", "threshold_bias")}
    pooled, labels = mx.array(case["pooled"]), mx.array(case["labels"])
    head.update(parameters)
    logits = head(pooled)
    np.testing.assert_allclose(head.predictions(logits), case["probabilities"], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(mx.exp(logits).sum(axis=1), np.ones(len(logits)), rtol=1e-5)
    np.testing.assert_allclose(loss(logits, labels), case["rows"], rtol=1e-5)

    def mean(parameters: Any) -> mx.array:
        head.update(parameters)
        return loss(head(pooled), labels).mean()

    gradients = mx.grad(mean)(parameters)
    for name, expected in case["gradients"].items():
        np.testing.assert_allclose(gradients[name], expected, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("outputs", [2, 3, 7])
def test_a_new_ordinal_head_holds_all_classes_alike(outputs: int) -> None:
    head = ordinal_head(outputs)
    assert shape_of(head.parameters()["threshold_bias"]) == (outputs - 1,)
    np.testing.assert_allclose(head.predictions(head(mx.zeros((1, 3)))), [[1 / outputs] * outputs], rtol=1e-5)


@pytest.mark.parametrize("score", [-1e4, 1e4])
def test_an_extreme_score_stays_finite_and_is_the_outermost_class(score: float) -> None:
    head = ordinal_head()
    head.update({"weight": mx.array([[score, 0.0, 0.0]])})

    def loss(parameters: Any) -> mx.array:
        head.update(parameters)
        return head.loss(head(mx.ones((1, 3))), mx.array([2])).sum()

    value, gradients = mx.value_and_grad(loss)(head.parameters())
    assert value.item() == pytest.approx(1e4, rel=1e-3)
    assert all(np.isfinite(np.array(each)).all() for each in gradients.values())
    assert head.predictions(head(mx.ones((1, 3)))).argmax().item() == (0 if score < 0 else 4)


def test_the_outputs_stand_in_the_order_of_the_classes() -> None:
    head, plain = ordinal_head(3, order=["bad", "ok", "good"]), ordinal_head(3)
    plain.update(head.parameters())
    head.take_classes(("bad", "good", "ok"))
    pooled = mx.array([[1.0, 2.0, -1.0]])
    np.testing.assert_array_equal(head(pooled), plain(pooled)[:, mx.array([0, 2, 1])])


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (None, "expected the classes from the lowest to the highest, because words have no order of their own, got"),
        (["bad", "ok", "god"], "expected the classes bad, good and ok, got 'god' (did you mean 'good'?)"),
        (["bad", "good"], "expected every class from the lowest to the highest, got none of 'ok'"),
        (["bad", "good", "ok", "ok"], "expected every class once, got 'ok' again"),
    ],
)
def test_an_order_that_does_not_fit_the_classes_is_refused(order: list[str] | None, said: str) -> None:
    with pytest.raises(DataError) as caught:
        ordinal_head(3, order=order).take_classes(("bad", "good", "ok"))
    assert str(caught.value).startswith(f"model.head.order: {said}")


def test_numbers_and_two_classes_lie_in_order_by_themselves() -> None:
    for classes in (("1", "2", "10"), ("no", "yes")):
        head = ordinal_head(len(classes))
        head.take_classes(classes)
        assert head.ranks == tuple(range(len(classes)))
