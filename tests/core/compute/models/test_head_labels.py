"""A trained head, taken over by the names of its labels or made anew."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from stepbus.compute.models.head_adoption import adopt_head
from stepbus.compute.models.head_labels import HeadMeaning, keys_of, meaning_in
from stepbus.compute.models.loading import LoadReport

CLS = {"architectures": ["BertForSequenceClassification"]}


def codec(names: list[str], task: str = "multiclass", **more: Any) -> Any:
    columns = tuple(names) if task in ("multilabel", "regression") else ("label",)
    return SimpleNamespace(names=names, columns=columns, task=task, **more)


def model(meaning: HeadMeaning | None, outputs: int, task: str = "multiclass") -> Any:
    head = nn.Linear(4, outputs)
    head.update({"weight": mx.arange(4.0 * outputs).reshape(outputs, 4), "bias": mx.arange(float(outputs))})
    names = {"classifier.weight", "classifier.bias"}
    return SimpleNamespace(meaning=meaning, head=head, task=task, loaded=LoadReport(), head_names=names)


def adopted(meaning: HeadMeaning | None, labels: Any, task: str = "multiclass") -> tuple[list[float] | str, list[str]]:
    """Return the biases afterwards, which began as 0, 1, …, or "anew"; and what was said."""
    renewed: list[bool] = []
    made = model(meaning, 1 if task == "regression" else len(labels.names), task)
    weight = np.array(made.head.weight)
    adopt_head(made, labels, lambda: renewed.append(True))
    assert made.meaning.names == (labels.columns if task == "regression" else tuple(labels.names))
    biases = np.array(made.head.bias)
    if task != "regression":
        np.testing.assert_array_equal(np.array(made.head.weight), weight[biases.astype(int)])
    return "anew" if renewed else biases.tolist(), list(made.loaded.notes)


def test_a_new_head_is_left_alone() -> None:
    assert adopted(None, codec(["a", "b"])) == ([0.0, 1.0], [])


def test_the_same_names_in_the_same_order_are_taken_without_a_word() -> None:
    assert adopted(HeadMeaning(("a", "b")), codec(["a", "b"])) == ([0.0, 1.0], [])


def test_another_order_is_put_right_and_said() -> None:
    found, (said,) = adopted(HeadMeaning(("c", "a", "b")), codec(["a", "b", "c"]))
    assert found == [1.0, 2.0, 0.0]
    assert said == "the head's outputs were put in the order a, b, c; the file has c, a, b"


def test_names_are_found_without_case_where_that_is_plain() -> None:
    meaning = HeadMeaning(("POSITIVE", "NEGATIVE"))
    assert adopted(meaning, codec(["negative", "positive"], "binary"), "binary")[0] == [1.0, 0.0]
    assert adopted(HeadMeaning(("A", "a")), codec(["a", "A"]))[0] == [1.0, 0.0]
    assert adopted(HeadMeaning(("A", "a")), codec(["a", "aa"]))[0] == "anew"


def test_other_names_start_anew_and_say_so() -> None:
    found, (said,) = adopted(HeadMeaning(("joy", "fear")), codec(["bad", "good"]))
    assert found == "anew"
    assert said == "the head starts anew: the file's labels are joy, fear, and those of the data are bad, good"


@pytest.mark.parametrize("names", [("a", "b"), ("a", "a", "b")])
def test_a_part_of_the_names_or_one_name_twice_is_not_enough(names: tuple[str, ...]) -> None:
    assert adopted(HeadMeaning(names), codec(["a", "b", "c"]))[0] == "anew"


def test_outputs_without_names_are_numbers_or_unknown() -> None:
    found, (said,) = adopted(HeadMeaning(None), codec(["0", "1", "2"]))
    assert found == [0.0, 1.0, 2.0]
    assert said == "the head's outputs LABEL_0, LABEL_1, … are taken for the labels 0, 1, 2"
    for names in (["bad", "good"], ["1", "2"], ["1", "0"]):
        found, (said,) = adopted(HeadMeaning(None), codec(names))
        assert found == "anew"
        assert "LABEL_0, LABEL_1, …, which does not say which of" in said


@pytest.mark.parametrize(
    ("problem", "task", "fits"),
    [
        ("single_label_classification", "binary", True),
        ("single_label_classification", "multiclass", True),
        ("single_label_classification", "multilabel", False),
        ("multi_label_classification", "multilabel", True),
        ("multi_label_classification", "multiclass", False),
        ("regression", "binary", False),
        (None, "multilabel", True),
    ],
)
def test_a_head_of_another_task_starts_anew(problem: str | None, task: str, fits: bool) -> None:
    found, said = adopted(HeadMeaning(("a", "b"), problem), codec(["a", "b"], task), task)
    assert (found, said) == ([0.0, 1.0], []) if fits else (found == "anew" and problem in said[0])


def values(mean: float, sd: float, transform: str = "none") -> dict[str, Any]:
    return {"mean": mean, "sd": sd, "target": transform}


def test_a_regression_head_goes_on_predicting_the_same_values() -> None:
    made = model(HeadMeaning(("price",), "regression", {"mean": 5.0, "sd": 2.0, "transform": "none"}), 1, "regression")
    x = mx.array([[1.0, 0.5, -1.0, 2.0]])
    before = made.head(x).item() * 2.0 + 5.0
    adopt_head(made, codec(["price"], "regression", **values(-3.0, 0.5)), lambda: pytest.fail("made anew"))
    assert made.head(x).item() * 0.5 - 3.0 == pytest.approx(before, rel=1e-6)
    assert "units that stepbus_target says" in made.loaded.notes[0]


def test_a_regression_head_of_others_speaks_in_the_targets_own_unit() -> None:
    made = model(HeadMeaning(None, "regression"), 1, "regression")
    x = mx.array([[1.0, 0.5, -1.0, 2.0]])
    before = made.head(x).item()
    adopt_head(made, codec(["price"], "regression", **values(10.0, 4.0)), lambda: pytest.fail("made anew"))
    assert made.head(x).item() * 4.0 + 10.0 == pytest.approx(before, rel=1e-6)


def test_a_regression_head_in_the_same_units_keeps_its_bits() -> None:
    meaning = HeadMeaning(("price",), "regression", {"mean": 1.1, "sd": 0.3, "transform": "log1p"})
    assert adopted(meaning, codec(["price"], "regression", **values(1.1, 0.3, "log1p")), "regression") == ([0.0], [])


@pytest.mark.parametrize(("column", "transform", "why"), [("cost", "log1p", "labels"), ("price", "none", "log1p")])
def test_another_target_or_transform_starts_anew(column: str, transform: str, why: str) -> None:
    meaning = HeadMeaning(("price",), "regression", {"mean": 1.1, "sd": 0.3, "transform": "log1p"})
    found, (said,) = adopted(meaning, codec([column], "regression", **values(1.1, 0.3, transform)), "regression")
    assert found == "anew"
    assert why in said


def test_a_head_of_several_layers_is_not_put_in_another_order() -> None:
    made = model(HeadMeaning(("b", "a")), 2)
    made.head_names.add("classifier.dense.weight")
    renewed: list[bool] = []
    adopt_head(made, codec(["a", "b"]), lambda: renewed.append(True))
    assert renewed
    assert "its outputs cannot be put in another order" in made.loaded.notes[0]


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"id2label": {"0": "no", "1": "yes"}}, ("no", "yes")),
        ({"id2label": {"1": "yes", "0": "no"}}, ("no", "yes")),
        ({"id2label": {0: "no", 1: 1}}, ("no", "1")),
        ({"label2id": {"yes": 1, "no": 0}}, ("no", "yes")),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, None),
        ({"id2label": {"0": "no", "2": "yes"}}, None),
        ({"id2label": {}, "label2id": {}, "stepbus_labels": ["no", "yes"]}, ("no", "yes")),
        ({"id2label": None}, None),
        ({"id2label": "no"}, None),
        ({}, None),
    ],
)
def test_names_in_config_json(config: dict[str, Any], names: tuple[str, ...] | None) -> None:
    assert meaning_in(config, "cls", own=True).names == names


@pytest.mark.parametrize(
    ("config", "pooling", "why"),
    [
        (CLS, "cls", None),
        (CLS, "mean", "the file's stands on cls pooling, and model.pooling is mean"),
        ({"architectures": ["StepbusBertClassifier"], "stepbus_pooling": "mean"}, "mean", None),
        ({"architectures": ["StepbusBertClassifier"], "stepbus_pooling": "mean"}, "cls", "stands on mean pooling"),
        ({"architectures": ["BertForTokenClassification"]}, "cls", "the file's is that of BertForTokenClassification"),
        ({"architectures": ["BertForMultipleChoice"]}, "mean", "the file's is that of BertForMultipleChoice"),
        ({"architectures": ["BertModel"]}, "mean", None),
        ({"architectures": None}, "mean", None),
    ],
)
def test_a_head_belongs_to_its_architecture_and_pooling(config: dict[str, Any], pooling: str, why: str | None) -> None:
    other = meaning_in(config, pooling, own=pooling == "cls").other
    assert other == why or (why is not None and other is not None and why in other)
    found, _ = adopted(HeadMeaning(("a", "b"), other=other), codec(["a", "b"]))
    assert found == ([0.0, 1.0] if why is None else "anew")


def test_another_name_for_the_familys_own_pooling_keeps_its_head() -> None:
    assert meaning_in(CLS, "first_token", own=True).other is None


def test_outputs_of_a_model_that_others_cannot_compute_are_named_apart() -> None:
    assert keys_of(["a"], own=True) == {"id2label": {"0": "a"}, "label2id": {"a": 0}}
    assert keys_of(["a"], own=False) == {"id2label": {}, "label2id": {}, "stepbus_labels": ["a"]}
