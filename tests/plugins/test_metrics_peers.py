"""Every metric beside scikit-learn, SciPy or plain NumPy on random data, and weights as repeated rows."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus import BadInput
from stepbus_plugins.metrics import Metrics

PARTS = {part.name: part for part in Metrics.components}
CASES = [(name, task) for name, part in PARTS.items() for task in part.metadata["tasks"]]


def options_of(name: str, task: str) -> list[dict[str, Any]]:
    """Return the settings to try of a metric."""
    if name in ("precision", "recall", "f1"):
        return [{"average": average} for average in ("auto", "macro", "micro", "weighted")]
    if name.startswith("auc") and task != "binary":
        return [{"average": average} for average in ("macro", "micro", "weighted")]
    if name == "cohen_kappa":
        return [{"weights": weights} for weights in ("none", "linear", "quadratic")]
    if name == "quantile_loss":
        return [{"quantile": quantile} for quantile in (0.1, 0.5, 0.9)]
    if name == "top_k":
        return [{"k": k} for k in (1, 2, 3)]
    if name == "calibration_error":
        return [{"bins": bins} for bins in (1, 10, 15)]
    return [{}]


ALL = [(name, task, options) for name, task in CASES for options in options_of(name, task)]


def built(name: str, options: dict[str, Any] | None = None) -> Any:
    return PARTS[name].build(PARTS[name].config(**(options or {})))


def scored_rows(task: str, number: int = 60, seed: int = 5) -> tuple[Any, Any]:
    """Return labels and predictions at random, some of them alike."""
    draw = np.random.default_rng(seed)
    if task == "regression":
        labels, values = draw.gamma(2.0, 3.0, number) + 0.1, draw.gamma(2.0, 3.0, number)
        return np.round(labels, 1), np.where(draw.random(number) < 0.5, np.round(values), values)
    if task == "multilabel":
        return draw.integers(0, 2, (number, 3)).astype(np.float32), draw.random((number, 3))
    classes = 2 if task == "binary" else 4
    return draw.integers(0, classes, number), draw.dirichlet(np.ones(classes), number)


# Weights --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "task", "options"), ALL, ids=repr)
def test_integer_weights_are_repeated_rows(name: str, task: str, options: dict[str, Any]) -> None:
    """Every metric takes weights; weight 0 is no row at all."""
    metric = built(name, options)
    labels, values = scored_rows(task)
    weights = np.random.default_rng(8).integers(0, 4, len(labels))
    assert 0 in weights
    expected = metric(np.repeat(labels, weights, axis=0), np.repeat(values, weights, axis=0))
    assert metric(labels, values, weights) == pytest.approx(expected, abs=1e-12)
    assert metric(labels, values, weights * 2.5) == pytest.approx(expected, abs=1e-12)
    assert metric(labels, values, np.ones(len(labels))) == pytest.approx(metric(labels, values), abs=1e-12)
    assert abs(metric(labels, values) - expected) > 1e-6  # they do count


@pytest.mark.parametrize(("name", "task"), CASES, ids=str)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_few_rows_of_any_weights_are_repeated_rows_or_nan_as_they_are(name: str, task: str, data: Any) -> None:
    """One class alone, one value alone, one row alone, none at all: neither an exception nor a warning."""
    number = data.draw(st.integers(0, 5))
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=number, max_size=number)), dtype=np.int64)
    coarse = st.sampled_from([0.0, 0.25, 0.5, 1.0])
    classes = {"binary": 2, "multiclass": 4}.get(task, 3)
    if task == "regression":
        labels = np.array(data.draw(st.lists(coarse, min_size=number, max_size=number)), dtype=np.float64)
        values = np.array(data.draw(st.lists(coarse, min_size=number, max_size=number)), dtype=np.float64)
    else:
        chances = data.draw(st.lists(coarse, min_size=number * classes, max_size=number * classes))
        values = np.array(chances, dtype=np.float64).reshape(number, classes)
        if task == "multilabel":
            flags = data.draw(st.lists(st.integers(0, 1), min_size=number * classes, max_size=number * classes))
            labels = np.array(flags, dtype=np.float32).reshape(number, classes)
        else:
            values = (values + 0.1) / (values + 0.1).sum(axis=1, keepdims=True)
            labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=number, max_size=number)), int)
    metric = built(name)
    expected = metric(np.repeat(labels, weights, axis=0), np.repeat(values, weights, axis=0))
    assert metric(labels, values, weights) == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert math.isnan(expected) or math.isfinite(expected)


# Peers ----------------------------------------------------------------------------------------------------------------


def weighted_mean(values: Any, weights: Any) -> float:
    return float((values * weights).sum() / weights.sum())


def binned(held: Any, chances: Any, weights: Any, bins: int) -> float:
    """Return the expected calibration error as the papers have it, bin by bin."""
    total = 0.0
    for number in range(bins):
        inside = (chances > number / bins) & (chances <= (number + 1) / bins)
        inside |= (chances == 0) & (number == 0)
        if weights[inside].sum() > 0:
            gap = weighted_mean(held[inside], weights[inside]) - weighted_mean(chances[inside], weights[inside])
            total += weights[inside].sum() / weights.sum() * abs(gap)
    return total


def repeated(function: Any, labels: Any, values: Any, weights: Any) -> float:
    """Return what an unweighted function says of rows as often as they weigh, whole numbers."""
    return float(function(np.repeat(labels, weights), np.repeat(values, weights)).statistic)


def of_values(name: str, options: dict[str, Any], labels: Any, values: Any, weights: Any) -> float:
    from scipy import stats
    from sklearn import metrics

    if name in ("pearson", "spearman"):
        return repeated(stats.pearsonr if name == "pearson" else stats.spearmanr, labels, values, weights)
    function = {
        "mse": metrics.mean_squared_error,
        "mae": metrics.mean_absolute_error,
        "rmse": metrics.root_mean_squared_error,
        "r2": metrics.r2_score,
        "explained_variance": metrics.explained_variance_score,
        "mape": metrics.mean_absolute_percentage_error,
        "rmsle": metrics.root_mean_squared_log_error,
        "quantile_loss": metrics.mean_pinball_loss,
    }[name]
    more = {"alpha": options["quantile"]} if name == "quantile_loss" else {}
    return float(function(labels, values, sample_weight=weights, **more))


def of_chances(name: str, task: str, options: dict[str, Any], labels: Any, values: Any, weights: Any) -> float:
    from sklearn import metrics

    several = values.shape[1]
    truth = labels if task == "multilabel" else np.eye(several)[labels]
    if name == "log_loss":
        if task == "multilabel":
            rows = -(truth * np.log(values) + (1 - truth) * np.log(1 - values)).mean(axis=1)
            return weighted_mean(rows, weights)
        return float(metrics.log_loss(labels, values, sample_weight=weights, labels=range(several)))
    if name == "top_k":
        return float(metrics.top_k_accuracy_score(labels, values, sample_weight=weights, labels=range(4), **options))
    if name == "calibration_error":
        if task == "multiclass":
            return binned(values.argmax(1) == labels, values.max(1), weights, options["bins"])
        pairs = [(truth[:, k], values[:, k]) for k in range(1 if task == "binary" else 0, several)]
        return float(np.mean([binned(held, chances, weights, options["bins"]) for held, chances in pairs]))
    function = metrics.roc_auc_score if name == "auc_roc" else metrics.average_precision_score
    truth, values = (labels, values[:, 1]) if task == "binary" else (truth, values)
    return float(function(truth, values, sample_weight=weights, **options))


def of_decisions(name: str, task: str, options: dict[str, Any], labels: Any, values: Any, weights: Any) -> float:
    from sklearn import metrics

    decided = values >= 0.5 if task == "multilabel" else values.argmax(axis=1)
    if name in ("accuracy", "mcc"):
        function = metrics.accuracy_score if name == "accuracy" else metrics.matthews_corrcoef
        return float(function(labels, decided, sample_weight=weights))
    if name.endswith("kappa"):
        how = "quadratic" if name == "quadratic_kappa" else options["weights"]
        weighting = None if how == "none" else how
        return float(metrics.cohen_kappa_score(labels, decided, weights=weighting, sample_weight=weights))
    kind, _, average = name.partition("_")
    average = average or options["average"]
    average = average if average != "auto" else "binary" if task == "binary" else "macro"
    function = {"precision": metrics.precision_score, "recall": metrics.recall_score, "f1": metrics.f1_score}[kind]
    return float(function(labels, decided, average=average, sample_weight=weights, zero_division=0.0))


@pytest.mark.parametrize(("name", "task", "options"), ALL, ids=repr)
@pytest.mark.parametrize("weighted", [False, True])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=4, deadline=None)
def test_it_is_what_its_peer_says(name: str, task: str, options: dict[str, Any], weighted: bool, seed: int) -> None:
    labels, values = scored_rows(task, seed=seed)
    weights = np.random.default_rng(seed).integers(1, 5, len(labels)) if weighted else None
    found = built(name, options)(labels, values, weights)
    rows = np.ones(len(labels), dtype=np.int64) if weights is None else weights
    if task == "regression":
        expected = of_values(name, options, labels, values, rows)
    elif name.startswith(("auc", "log", "top", "calibration")):
        expected = of_chances(name, task, options, labels, values, rows)
    else:
        expected = of_decisions(name, task, options, labels, values, rows)
    assert found == pytest.approx(expected, abs=1e-12)


def test_quadratic_kappa_is_one_minus_the_share_of_squared_distances() -> None:
    labels, decided = np.array([0, 1, 2, 2, 1]), np.array([0, 2, 2, 1, 1])
    observed = ((labels - decided) ** 2).mean()
    by_chance = np.mean([(a - b) ** 2 for a in labels for b in decided])
    assert built("quadratic_kappa")(labels, np.eye(3)[decided]) == pytest.approx(1 - observed / by_chance)


def test_a_weighted_kappa_goes_by_the_order_of_the_classes_and_not_by_that_of_the_alphabet() -> None:
    codec = SimpleNamespace(names=["high", "low", "mid"], thresholds=None)
    labels, decided = np.array([0, 1, 2, 2, 1, 0]), np.array([0, 2, 2, 1, 0, 0])
    ranks = np.array([2, 0, 1])  # high, low, mid
    part = PARTS["quadratic_kappa"]
    found = part.build(part.config(order=["low", "mid", "high"]), codec)(labels, np.eye(3)[decided])
    assert found == pytest.approx(built("quadratic_kappa")(ranks[labels], np.eye(3)[ranks[decided]]))
    assert found != pytest.approx(built("quadratic_kappa")(labels, np.eye(3)[decided]))
    with pytest.raises(BadInput, match=r"^training\.metrics: order: expected the classes from the lowest to the"):
        part.build(part.config(), codec)
    with pytest.raises(BadInput, match=r"expected the classes high, low and mid, got 'hgh' \(did you mean 'high'"):
        part.build(part.config(order=["low", "mid", "hgh"]), codec)
    plain = PARTS["cohen_kappa"]  # without weights there is no order to know
    assert plain.build(plain.config(), codec)(labels, np.eye(3)[decided]) == built("cohen_kappa")(
        labels, np.eye(3)[decided]
    )


# What is undefined ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "labels", "values"),
    [
        ("mape", [0.0, 1.0], [1.0, 1.0]),  # nothing is some percent of 0
        ("explained_variance", [2.0, 2.0], [1.0, 3.0]),
        ("pearson", [1.0, 2.0], [3.0, 3.0]),
        ("spearman", [1.0, 1.0], [3.0, 4.0]),
        ("mcc", [0, 0], np.eye(2)),
        ("cohen_kappa", [1, 1], np.eye(2)[[1, 1]]),
        ("log_loss", [0, 1], np.array([[0.9, 0.9], [0.5, 0.5]])),  # no probabilities
        ("rmse", [1e308, -1e308], [-1e308, 1e308]),  # beyond every float
    ],
)
def test_what_is_undefined_is_nan(name: str, labels: Any, values: Any) -> None:
    assert math.isnan(built(name)(np.asarray(labels), np.asarray(values)))


@pytest.mark.parametrize("name", ["cohen_kappa", "mcc"])
def test_decisions_of_one_class_agree_by_chance_alone(name: str) -> None:
    for labels, decided in (([0, 1], np.eye(2)[[1, 1]]), ([0, 1, 2], np.eye(3)[[2, 2, 2]])):
        assert built(name)(np.array(labels), decided) == 0.0  # as scikit-learn has it


def test_more_places_than_classes_are_refused() -> None:
    with pytest.raises(BadInput, match=r"k: expected fewer than the 3 classes, got 3"):
        built("top_k", {"k": 3})(np.array([0]), np.eye(3)[:1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float32_predictions_are_as_good(dtype: Any) -> None:
    labels, values = scored_rows("regression")
    for name in ("pearson", "spearman", "mape", "quantile_loss"):
        assert built(name)(labels, values.astype(dtype)) == pytest.approx(built(name)(labels, values), rel=1e-5)


def test_help_speaks_of_the_tasks_that_a_metric_has() -> None:
    for name, word in (("mcc", "multilabel"), ("cohen_kappa", "multilabel")):
        fields = {field.name: field.metadata["meaning"] for field in attrs.fields(PARTS[name].config)}
        assert word not in fields["threshold"] and "second class" in fields["threshold"]
    bins = {field.name: field.metadata["meaning"] for field in attrs.fields(PARTS["calibration_error"].config)}["bins"]
    assert "of the second class of a binary task" in bins and "of the predicted class of more" in bins
