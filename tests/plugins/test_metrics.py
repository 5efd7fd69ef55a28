"""Metrics against numbers worked out by hand or by plain NumPy, and what is undefined."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus import BadInput, Metric, Predictions, load_config
from stepbus_plugins.metrics import Metrics
from stepbus_plugins.metrics.counts import confusion, counts
from stepbus_plugins.metrics.tables import tables

PARTS = {part.name: part for part in Metrics.components}
TASKS = ("binary", "multiclass", "multilabel", "regression")
LESS = {"mse", "mae", "rmse", "rmsle", "mape", "quantile_loss", "log_loss", "calibration_error"}


def shown_of(*given: Any, **more: Any) -> Any:
    """Return the tables of a set."""
    found = counts(*given, **more)
    return [] if found is None else tables(found)


def score(name: str, labels: Any, predictions: Any, **options: Any) -> float:
    part = PARTS[name]
    value = part.build(part.config(**options))(np.asarray(labels), np.asarray(predictions))
    assert isinstance(value, float)
    return value


def two(probability: list[float]) -> np.ndarray[Any, Any]:
    second = np.asarray(probability)
    return np.stack([1 - second, second], axis=1)


# 3 true positives, 1 false positive, 2 false negatives, 4 true negatives.
LABELS = [1, 1, 1, 0, 1, 1, 0, 0, 0, 0]
CHANCES = [0.9, 0.8, 0.6, 0.7, 0.4, 0.3, 0.2, 0.1, 0.35, 0.05]


def test_defaults_by_task() -> None:
    chosen = {task: [name for name, part in PARTS.items() if task in part.metadata["default"]] for task in TASKS}
    assert chosen == {
        "binary": ["accuracy", "precision", "recall", "f1", "auc_roc", "auc_pr"],
        "multiclass": ["accuracy", "f1_macro", "f1_micro"],
        "multilabel": ["accuracy", "f1_macro", "f1_micro", "auc_roc", "auc_pr"],
        "regression": ["mse", "mae", "rmse", "r2"],
    }
    for part in PARTS.values():
        assert set(part.metadata["default"]) <= set(part.metadata["tasks"])
        assert part.metadata["greater_is_better"] is (part.name not in LESS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("accuracy", 0.7), ("precision", 3 / 4), ("recall", 3 / 5), ("f1", 6 / 9), ("f1_macro", (6 / 9 + 8 / 11) / 2)],
)
def test_binary_by_hand(name: str, expected: float) -> None:
    assert score(name, LABELS, two(CHANCES)) == pytest.approx(expected, abs=1e-12)


def test_auc_roc_is_the_share_of_pairs_in_order() -> None:
    positive = [p for p, y in zip(CHANCES, LABELS, strict=True) if y]
    negative = [p for p, y in zip(CHANCES, LABELS, strict=True) if not y]
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in positive for b in negative]
    assert score("auc_roc", LABELS, two(CHANCES)) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_auc_pr_is_the_mean_precision_at_each_hit() -> None:
    order = np.argsort(-np.asarray(CHANCES))
    hits = np.asarray(LABELS)[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    assert score("auc_pr", LABELS, two(CHANCES)) == pytest.approx(precision[hits == 1].mean(), abs=1e-12)


def test_multiclass_by_hand() -> None:
    labels = [0, 0, 1, 1, 2, 2]
    predictions = np.eye(3)[[0, 1, 1, 1, 2, 0]] * 0.8 + 0.1
    f1 = [2 / 4, 4 / 5, 2 / 3]
    assert score("accuracy", labels, predictions) == pytest.approx(4 / 6)
    assert score("f1_micro", labels, predictions) == pytest.approx(4 / 6)
    assert score("f1_macro", labels, predictions) == pytest.approx(np.mean(f1))
    assert score("f1", labels, predictions) == pytest.approx(np.mean(f1))
    assert score("f1", labels, predictions, average="weighted") == pytest.approx(np.mean(f1))
    assert score("auc_roc", labels, predictions) == pytest.approx(
        np.mean([score("auc_roc", [int(y == k) for y in labels], two(list(predictions[:, k]))) for k in range(3)])
    )
    with pytest.raises(BadInput, match=r"recall with average: binary is for two classes; take macro"):
        score("recall", labels, predictions, average="binary")


def test_multilabel_by_hand() -> None:
    labels = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], dtype=np.float32)
    predictions = np.array([[0.9, 0.2], [0.8, 0.4], [0.1, 0.3], [0.6, 0.7]])
    assert score("accuracy", labels, predictions) == 0.5
    assert score("f1_macro", labels, predictions) == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert score("f1_micro", labels, predictions) == pytest.approx(6 / 8)
    assert score("auc_roc", labels, predictions) == 1.0
    assert score("accuracy", labels, predictions, threshold=0.35) == 0.75


def test_a_label_that_the_set_lacks_is_left_out_of_the_area() -> None:
    labels = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]])
    predictions = np.array([[0.2, 0.5, 0.1], [0.6, 0.5, 0.2], [0.7, 0.5, 0.3]])
    assert score("auc_roc", labels, predictions) == 0.5  # of the first label alone
    assert math.isnan(score("auc_roc", labels[:, 1:], predictions[:, 1:]))


def test_regression_by_hand() -> None:
    labels, predictions = [1.0, 2.0, 3.0, 6.0], [1.0, 3.0, 3.0, 4.0]
    assert score("mse", labels, predictions) == pytest.approx(5 / 4)
    assert score("mae", labels, predictions) == pytest.approx(3 / 4)
    assert score("rmse", labels, predictions) == pytest.approx(math.sqrt(5 / 4))
    assert score("r2", labels, predictions) == pytest.approx(1 - 5 / 14)
    logs = np.log1p(labels) - np.log1p(predictions)
    assert score("rmsle", labels, predictions) == pytest.approx(np.sqrt(np.mean(logs**2)))


def test_rmsle_takes_a_negative_prediction_as_0() -> None:
    assert score("rmsle", [0.0, 1.0], [-3.0, 1.0]) == 0.0
    assert math.isnan(score("rmsle", [-1.0, 1.0], [0.0, 1.0]))


@pytest.mark.parametrize("name", PARTS)
def test_undefined_is_nan_and_never_an_exception_or_a_warning(name: str) -> None:
    regression = PARTS[name].metadata["tasks"] == ("regression",)
    empty = (np.zeros(0), np.zeros(0)) if regression else (np.zeros(0, int), np.zeros((0, 2)))
    diverged = (np.ones(3), np.full(3, np.nan)) if regression else (np.array([0, 1, 1]), np.full((3, 2), np.nan))
    assert math.isnan(score(name, *empty))
    assert math.isnan(score(name, *diverged))


@pytest.mark.parametrize("name", ["auc_roc", "auc_pr"])
def test_an_area_needs_both_classes(name: str) -> None:
    assert math.isnan(score(name, [0, 0], two([0.1, 0.9])))
    assert math.isnan(score(name, [1, 1], two([0.1, 0.9])))


def test_one_class_alone() -> None:
    assert score("f1", [0, 0], two([0.1, 0.2])) == 0.0
    assert score("recall", [0, 0], two([0.1, 0.9])) == 0.0
    assert score("accuracy", [0, 0], two([0.1, 0.9])) == 0.5
    assert math.isnan(score("r2", [2.0, 2.0], [1.0, 2.0]))
    assert math.isnan(score("r2", [2.0], [2.0]))


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 5), st.integers(1, 40), st.integers(0, 2**31))
def test_whole_set_scores_do_not_depend_on_row_order(classes: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(0, classes, rows), rng.dirichlet(np.ones(classes), rows)
    shuffled = rng.permutation(rows)
    for name in ("accuracy", "f1_macro", "f1_micro", "auc_roc", "auc_pr"):
        a, b = score(name, labels, predictions), score(name, labels[shuffled], predictions[shuffled])
        assert a == pytest.approx(b, abs=1e-12, nan_ok=True)
        assert math.isnan(a) or 0 <= a <= 1
    counts = confusion(labels, predictions.argmax(axis=1), classes)
    assert counts.sum() == rows
    assert counts.trace() / rows == pytest.approx(score("accuracy", labels, predictions))


def test_tables_of_classes() -> None:
    table, each = shown_of(np.array([0, 0, 1, 1]), two([0.1, 0.9, 0.8, 0.7]), ["no", "yes"])
    assert table == (
        "confusion (rows: true, columns: predicted)",
        ["", "no", "yes"],
        [["no", "1", "1"], ["yes", "0", "2"]],
    )
    assert each == (
        "each class",
        ["class", "precision", "recall", "f1", "rows"],
        [["no", "1.0000", "0.5000", "0.6667", "2"], ["yes", "0.6667", "1.0000", "0.8000", "2"]],
    )


def test_tables_of_labels_of_many_classes_and_of_values() -> None:
    (each,) = shown_of(np.array([[1, 0], [1, 0]]), np.array([[0.9, 0.1], [0.2, 0.2]]), ["a", "b"])
    assert each[2] == [["a", "1.0000", "0.5000", "0.6667", "2"], ["b", "-", "-", "-", "0"]]
    names = [str(k) for k in range(13)]
    assert [title for title, _, _ in shown_of(np.arange(13), np.eye(13), names)] == ["each class"]
    assert shown_of(np.ones(2), np.ones(2), ["price"]) == []
    assert shown_of(np.zeros(2, int), np.full((2, 2), np.nan), ["a", "b"]) == []


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 4), st.integers(1, 12), st.integers(0, 2**31), st.booleans())
def test_the_mean_of_the_classes_is_what_the_metrics_say(classes: int, rows: int, seed: int, several: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (rows, classes)) if several else rng.integers(0, classes, rows)
    predictions = rng.random((rows, classes)) if several else rng.dirichlet(np.ones(classes), rows)
    found = counts(labels, predictions, [str(k) for k in range(classes)])
    assert found is not None
    for name, each in found.scores.items():
        # Of several labels, scikit-learn counts one that is neither as 0.
        mean = np.nan_to_num(each).mean() if several else np.nanmean(each)
        assert score(name, labels, predictions, average="macro") == pytest.approx(mean)


def labelled(labels: Any, values: Any) -> Predictions:
    return Predictions(np.arange(len(labels)), values, labels)


def codec_of(names: list[str], task: str = "binary", thresholds: Any = None) -> Any:
    return SimpleNamespace(names=names, task=task, thresholds=thresholds)


def test_tables_are_shown_after_the_final_evaluation_only(tmp_path: Path) -> None:
    shown: list[str] = []
    trainer = SimpleNamespace(
        data=SimpleNamespace(codec=codec_of(["no", "yes"])),
        directory=tmp_path,
        artifact=lambda kind, path: shown.append(path.name),
        report=lambda title, columns, rows: shown.append(title),
    )
    plugin, given_set = Metrics(Metrics.Config()), labelled(np.array([0, 1]), two([0.1, 0.9]))
    plugin.on_predictions(trainer, "validation", given_set, final=False)
    Metrics(Metrics.Config(tables=False, files=False)).on_predictions(trainer, "validation", given_set, final=True)
    assert shown == [] == list(tmp_path.iterdir())
    Metrics(Metrics.Config(files=False)).on_predictions(trainer, "validation", given_set, final=True)
    assert shown == ["validation: confusion (rows: true, columns: predicted)", "validation: each class"]
    shown.clear()
    Metrics(Metrics.Config(tables=False)).on_predictions(trainer, "test", given_set, final=True)
    assert shown == ["confusion_matrix_test.csv", "per_class_test.csv"]


class MeanMargin(Metric):
    """The original module's shape of a metric: state over calls of update."""

    def __init__(self, settings: Any = None) -> None:
        self.settings, self.parts = settings, []

    def update(self, predictions: Any, targets: Any) -> None:
        self.parts.append(predictions[np.arange(len(targets)), targets].mean())

    def compute(self) -> float:
        return float(np.mean(self.parts))

    def reset(self) -> None:
        self.parts = []


def test_a_metric_with_update_compute_reset() -> None:
    part = MeanMargin.component("margin", greater_is_better=True, tasks=("binary",))
    assert (part.kind, part.name, part.metadata["tasks"]) == ("metric", "margin", ("binary",))
    assert part.metadata["greater_is_better"] is True
    metric = part.build(part.config())
    for _ in range(2):  # the second call has forgotten the first
        assert metric(np.array([0, 1]), two([0.25, 0.5])) == 0.625
    with pytest.raises(NotImplementedError):
        Metric()(np.array([0]), two([0.5]))


def test_a_metric_with_settings() -> None:
    @define(frozen=True, kw_only=True)
    class Config:
        power: int = 2

    part = MeanMargin.component("margin", greater_is_better=None, config=Config)
    assert part.build(part.config(power=3)).settings.power == 3


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.35, 0.5, 0.71, 0.95])
@pytest.mark.parametrize("name", ["accuracy", "precision", "recall", "f1"])
def test_a_binary_decision_is_the_second_class_from_the_threshold_on(name: str, threshold: float) -> None:
    """Against scikit-learn's own scores of the decisions."""
    from sklearn import metrics

    peer = {"accuracy": metrics.accuracy_score, "precision": metrics.precision_score, "recall": metrics.recall_score}
    function = (peer | {"f1": metrics.f1_score})[name]
    decided = (np.asarray(CHANCES) >= threshold).astype(int)
    extra = {} if name == "accuracy" else {"zero_division": 0.0}
    assert score(name, LABELS, two(CHANCES), threshold=threshold) == pytest.approx(function(LABELS, decided, **extra))


def test_a_tie_at_the_default_threshold_goes_where_written_predictions_go() -> None:
    assert score("accuracy", [0, 1], np.full((2, 2), 0.5)) == 0.5
    assert score("recall", [0, 1], np.full((2, 2), 0.5)) == 0.0


CLASSES = {"binary": ("no", "yes"), "multiclass": ("a", "b", "c"), "multilabel": ("toxic", "rude")}


@pytest.mark.parametrize(
    ("task", "metric", "said"),
    [
        (
            "multiclass",
            {"type": "top_k", "k": 3},
            ["training.metrics[1].k: expected fewer than the 3 classes, all of which are right, got 3"],
        ),
        ("multiclass", {"type": "top_k", "k": 2}, []),
        (
            "multilabel",
            {"type": "f1_micro", "threshold": {"toxc": 0.3}},
            ["training.metrics[1].threshold: expected a label out of toxic, rude, got 'toxc' (did you mean 'toxic'?)"],
        ),
        ("multilabel", {"type": "f1_micro", "threshold": {"rude": 0.3}}, []),
        (
            "multilabel",
            {"type": "f1_micro", "threshold": [0.3, 0.2, 0.1]},
            ["training.metrics[1].threshold: expected one number for each of the 2 labels, or one for all, got 3"],
        ),
        (
            "binary",
            {"type": "mcc", "threshold": [0.3]},
            ["training.metrics[1].threshold: expected one number for two classes, from which a row is of the second, "
             "got a list"],
        ),
        (
            "binary",
            {"type": "cohen_kappa", "weights": "linear"},
            ["training.metrics[1].weights: expected none for two classes, where all errors count alike, got 'linear'; "
             "leave it out"],
        ),
        (
            "multiclass",
            {"type": "accuracy", "threshold": 0.3},
            ["training.metrics[1].threshold: expected none for more than two classes, where the most probable one "
             "counts, got 0.3; leave it out"],
        ),
        ("multiclass", {"type": "accuracy", "threshold": 0.5}, []),
        ("binary", {"type": "accuracy", "threshold": 0.3}, []),
        ("multilabel", {"type": "f1_micro", "threshold": 0.3}, []),
        (
            "binary",
            {"type": "auc_pr", "average": "micro"},
            ["training.metrics[1].average: expected none for two classes, where auc_pr is that of the second, got "
             "'micro'; leave it out"],
        ),
        ("multiclass", {"type": "auc_pr", "average": "micro"}, []),
        (
            "multilabel",
            {"type": "f1", "average": "binary"},
            ["training.metrics[1].average: expected auto, macro, micro or weighted for labels, got 'binary'"],
        ),
        ("binary", {"type": "f1", "average": "macro"}, []),
    ],
)  # fmt: skip
def test_settings_that_mean_nothing_for_the_task(task: str, metric: dict[str, Any], said: list[str]) -> None:
    plan: Any = SimpleNamespace(
        task=task, classes=CLASSES.get(task), config=load_config({"training": {"metrics": ["accuracy", metric]}})
    )
    found = Metrics(Metrics.Config()).validate_plan(plan)
    assert [f"{problem.path}: {problem.message}" for problem in found] == said


def test_the_tables_and_files_say_which_threshold_decided(tmp_path: Path) -> None:
    shown: list[tuple[str, Any]] = []
    trainer = SimpleNamespace(
        data=SimpleNamespace(codec=codec_of(["no", "yes"], thresholds=(0.3,))),
        directory=tmp_path,
        artifact=lambda kind, path: None,
        report=lambda title, columns, rows: shown.append((title, rows)),
    )
    given_set = labelled(np.array([0, 1]), two([0.1, 0.4]))
    Metrics(Metrics.Config()).on_predictions(trainer, "validation", given_set, final=True)
    assert shown[0] == (
        "validation: confusion (rows: true, columns: predicted, from a probability of 0.3 on)",
        [["no", "1", "0"], ["yes", "0", "1"]],
    )
    assert (tmp_path / "confusion_matrix.csv").read_text() == "true,no,yes\nno,1,0\nyes,0,1\n"
    assert (tmp_path / "per_class.csv").read_text() == (
        "class,threshold,precision,recall,f1,support\nno,,1.0,1.0,1.0,1\nyes,0.3,1.0,1.0,1.0,1\n"
    )


@pytest.mark.parametrize("task", ["multiclass", "regression", None])
def test_labels_that_came_as_numbers_are_named_by_them(task: str | None, tmp_path: Path) -> None:
    shown: list[tuple[str, Any]] = []
    trainer = SimpleNamespace(
        data=SimpleNamespace(codec=None, task=task),
        directory=tmp_path,
        artifact=lambda kind, path: None,
        report=lambda title, columns, rows: shown.append((title, rows)),
    )
    predictions = np.array([1.0, 2.0]) if task == "regression" else np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]])
    Metrics(Metrics.Config()).on_predictions(trainer, "validation", labelled(np.array([0, 2]), predictions), final=True)
    if task != "multiclass":
        assert shown == []
        return
    assert shown[0][1] == [["0", "1", "0", "0"], ["1", "0", "0", "0"], ["2", "0", "0", "1"]]


def test_tables_count_by_weight_and_say_so() -> None:
    labels, values = np.array([0, 1, 1]), two([0.2, 0.9, 0.4])
    (title, _, rows), (second, columns, each) = shown_of(labels, values, ["a", "b"], weights=np.array([2.0, 0.5, 1.0]))
    assert title == "confusion (rows: true, columns: predicted, by weight)"
    assert rows == [["a", "2", "0"], ["b", "1", "0.5"]]
    assert second == "each class, by weight"
    assert columns[-1] == "weight"
    assert each == [["a", "0.6667", "1.0000", "0.8000", "2"], ["b", "1.0000", "0.3333", "0.5000", "1.5"]]
    (*_, (plain, columns, _)) = shown_of(labels, values, ["a", "b"])
    assert (plain, columns[-1]) == ("each class", "rows")
