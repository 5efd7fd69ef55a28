"""What estimators are given: texts, frames and arrays, classes of any type, weights, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from stepbus import BadInput, ConfigError, import_module
from stepbus_plugins.scikit_learn import EstimatorInputError, StepbusClassifier, StepbusRegressor
from stepbus_plugins.scikit_learn.inputs import described

small: Any = import_module(str(Path(__file__).parents[2] / "fixtures" / "estimators.py"))
TEXTS = ["a good film", "a bad film", "great plot", "awful plot"] * 3
LABELS = ["yes", "no"] * 6


def a_classifier(**parameters: Any) -> StepbusClassifier:
    return StepbusClassifier(**{**small.FAST, **parameters})


@pytest.fixture(scope="module")
def on_texts() -> StepbusClassifier:
    return a_classifier().fit(TEXTS, LABELS)


@pytest.mark.parametrize(
    "kind",
    [
        tuple,
        np.array,
        lambda texts: np.array(texts, dtype=object),
        lambda texts: pd.Series(texts, index=range(100, 112), name="review"),
        lambda texts: pd.Series(texts, dtype="string"),
        lambda texts: pa.chunked_array([texts]),
        lambda texts: pd.DataFrame({"text": texts}, index=range(100, 112)),
    ],
    ids=["tuple", "array", "objects", "series", "string series", "arrow", "frame"],
)
def test_texts_of_any_kind_are_the_same(kind: Any, on_texts: StepbusClassifier) -> None:
    X = kind(TEXTS)
    found = a_classifier().fit(X, LABELS)
    np.testing.assert_array_equal(found.predict_proba(X), on_texts.predict_proba(TEXTS))
    assert hasattr(found, "n_features_in_") == isinstance(X, pd.DataFrame)


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [
        ([7, -3], np.integer),
        ([True, False], np.bool_),
        ([2.0, 1.0], np.floating),
        (["Yes", "yes"], np.str_),
        (["", " x"], np.str_),
        (["1.0", "1"], np.str_),
        (["nan", "None"], np.str_),
    ],
)
def test_classes_come_back_as_they_were(classes: list[Any], dtype: Any) -> None:
    found = a_classifier().fit(TEXTS, np.array(classes)[[0, 1] * 6])
    assert found.classes_.tolist() == sorted(classes)
    assert np.issubdtype(found.predict(TEXTS).dtype, dtype)
    assert set(found.predict(TEXTS).tolist()) <= set(classes)


def test_each_probability_belongs_to_its_class() -> None:
    """The model learns by heart that "good" is 10, "bad" is 9 and "film" is 100: words and numbers sort otherwise."""
    texts, labels = ["good good", "bad bad", "film film"] * 8, np.array([10, 9, 100] * 8)
    for y in (labels, labels.astype(str), np.array(["ten", "nine", "a hundred"] * 8)):
        found = a_classifier(learning_rate=3e-2, settings={**small.SETTINGS, "cache": False}, num_epochs=20).fit(
            texts, y
        )
        assert found.predict(texts[:3]).tolist() == y[:3].tolist()
        places = found.predict_proba(texts[:3]).argmax(axis=1)
        assert found.classes_[places].tolist() == y[:3].tolist()
        assert found.decision_function(texts[:3]).argmax(axis=1).tolist() == places.tolist()


def test_more_than_ten_classes_keep_their_order() -> None:
    """Trained as class_0, class_1, class_10, …: words, in whose order the model's outputs stand."""
    y = np.arange(12) * 2.0
    found = a_classifier().fit(TEXTS, y)
    names = found.trainer_.codec.names
    assert names[:3] == ["class_0", "class_1", "class_10"]
    said, outputs = found.predict_proba(TEXTS), found.trainer_.predict(pd.DataFrame({"text": TEXTS}))
    for place, value in enumerate(y):
        assert found.classes_[place] == value
        np.testing.assert_array_equal(said[:, place], outputs[:, names.index(f"class_{place}")])
    np.testing.assert_array_equal(found.predict(TEXTS), y[said.argmax(axis=1)])


def test_pairs_and_tables() -> None:
    frame = pd.DataFrame({"a": TEXTS, "b": TEXTS[::-1], "n": [1, None, 3.5] * 4})
    pair = a_classifier(text_columns=["a", "b"]).fit(frame, LABELS)
    assert pair.trainer_.encoder.source.columns == ["a", "b"]
    assert pair.n_features_in_ == 3
    by_place = a_classifier(text_columns=[0, 1]).fit(frame, LABELS)
    np.testing.assert_array_equal(by_place.predict_proba(frame), pair.predict_proba(frame))
    table = a_classifier().fit(frame, LABELS)
    assert table.feature_names_in_.tolist() == ["a", "b", "n"]
    assert np.isfinite(table.predict_proba(frame)).all()
    objects = a_classifier().fit(frame.to_numpy(), LABELS)
    assert np.isfinite(objects.predict_proba(frame.to_numpy())).all()


def test_columns_without_names_on_one_side_go_by_their_places() -> None:
    frame = pd.DataFrame({"a": [3, 1, 2, 5] * 3, "b": [0.5, None, 4.0, 9.25] * 3, "c": TEXTS})
    unnamed, array = frame.set_axis([7, 8, 9], axis=1), frame.to_numpy()
    for parameters in ({}, {"text_columns": ["c", "a"]}):
        found = a_classifier(**parameters).fit(frame, LABELS)
        wanted = found.predict_proba(frame)
        for X in (array, array.tolist(), unnamed):
            with pytest.warns(UserWarning, match="X does not have valid feature names"):
                np.testing.assert_array_equal(found.predict_proba(X), wanted)
        wrong = pytest.raises(ValueError, match="X has 2 features, but StepbusClassifier is expecting 3")
        with pytest.warns(UserWarning, match="X does not have valid feature names"), wrong:
            found.predict(array[:, :2])
        with pytest.raises(ValueError, match="feature names should match"):
            found.predict(frame.rename(columns={"a": "d"}))
    for X in (array, unnamed):
        found = a_classifier().fit(X, LABELS)
        wanted = found.predict_proba(X)
        np.testing.assert_array_equal(found.predict_proba(array), wanted)
        np.testing.assert_array_equal(found.predict_proba(unnamed), wanted)
        with pytest.warns(UserWarning, match="X has feature names, but StepbusClassifier was fitted without"):
            np.testing.assert_array_equal(found.predict_proba(frame), wanted)


def test_a_frame_of_one_column_of_texts_and_its_array(on_texts: StepbusClassifier) -> None:
    frame = pd.DataFrame({"review": TEXTS})
    found = a_classifier().fit(frame, LABELS)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        np.testing.assert_array_equal(found.predict_proba(frame.to_numpy()), on_texts.predict_proba(TEXTS))


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (np.int64(0), "a"),
        (np.array(2), "c"),
        (-1, "c"),
        (np.str_("b"), "b"),
        (np.array([0, 2]), ["a", "c"]),
        (np.array(["c", "a"]), ["c", "a"]),
        ((np.int32(1), "a"), ["b", "a"]),
        (pd.Index(["b"]), "b"),
        (range(2), ["a", "b"]),
    ],
)
def test_columns_of_text_by_name_or_place(said: Any, wanted: Any) -> None:
    found = described(pd.DataFrame([["x", "y", "z"]], columns=["a", "b", "c"]), said)
    assert found == {"type": "text", "text": wanted}
    assert {type(each) for each in found["text"]} == {str}  # no strings of NumPy, which no file of settings takes


def test_columns_called_as_ours() -> None:
    frame = pd.DataFrame({"label": TEXTS, "weight": [1, 2] * 6})
    found = a_classifier().fit(frame, LABELS, sample_weight=np.ones(12))
    assert found.predict(frame).shape == (12,)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        ("good", r"X: expected a list of texts, got a single text; write \[text\]"),
        ([1.0, 2.0], r"expected texts \[N\], as in fit, got a list of shape \(2,\)"),
        ([], r"expected texts \[N\], as in fit, got a list of shape \(0,\)"),
        (pd.DataFrame({"text": []}), r"as in fit, got a DataFrame of shape \(0, 1\)"),
        (5, r"as in fit, got a int of shape \(\)"),
        ([["a", "b"], ["c", "d"]], r"expected texts \[N\], as in fit"),
    ],
)
def test_what_is_no_text_is_refused(X: Any, words: str, on_texts: StepbusClassifier) -> None:
    with pytest.raises(ValueError, match=words):
        on_texts.predict(X)


def test_texts_are_no_table() -> None:
    found = a_classifier().fit(np.ones((12, 2)), LABELS)
    with pytest.raises(ValueError, match="X: expected 2 columns, as in fit, got texts"):
        found.predict(["good"])
    found.fit(TEXTS, LABELS)  # again on something else: nothing is left of the first
    assert not hasattr(found, "n_features_in_")
    assert found.predict(["good"]).shape == (1,)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"num_epochs": 2, "settings": {"num_epochs": 3}}, "settings: num_epochs is said twice; leave it out there"),
        ({"random_state": 1, "settings": {"seed": 3}}, "seed is said twice; leave it out there, or .* random_state"),
        ({"settings": {"output_dir": "x"}}, "settings: output_dir is a parameter of the estimator; set it there"),
        ({"settings": {"learning_rat": 1}}, "did you mean 'learning_rate'"),
        ({"learning_rate": -1.0}, "learning_rate: expected a number above 0"),
        ({"text_columns": "c"}, r"text_columns: expected one or two of \['text'\], got 'c'"),
        ({"text_columns": [0, 0, 0]}, r"text_columns: .* got 3 columns"),
        ({"text_columns": 1}, r"text_columns: .* got 1"),
        ({"text_columns": True}, r"text_columns: .* got True"),
        ({"text_columns": np.True_}, r"text_columns: .* got True"),
        ({"text_columns": [0, False]}, r"text_columns: .* got False"),
        ({"text_columns": np.int64(3)}, r"text_columns: .* got 3"),
        ({"text_columns": np.array([0, 3])}, r"text_columns: .* got 3"),
        ({"text_columns": -2}, r"text_columns: .* got -2"),
        ({"text_columns": 0.0}, r"text_columns: .* got 0\.0"),
        ({"text_columns": [[0]]}, r"text_columns: .* got \[0\]"),
    ],
)
def test_wrong_parameters_are_value_errors(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        StepbusClassifier(**parameters).fit(TEXTS, LABELS)
    assert isinstance(caught.value, EstimatorInputError)
    assert isinstance(caught.value, BadInput)
    assert caught.value.exit_code == ConfigError.exit_code


def test_wrong_labels_and_weights() -> None:
    for labels, words in (
        (None, "requires y to be passed"),
        (LABELS[:-1], "inconsistent numbers"),
        (["a"] * 12, "got 1 class: 'a'"),
    ):
        with pytest.raises(ValueError, match=words):
            a_classifier().fit(TEXTS, labels)
    with pytest.raises(ValueError, match=r"bad input shape|1d array"):
        a_classifier().fit(TEXTS, np.ones((12, 2)))
    for weights, words in (([1] * 11, "sample_weight"), ([-1] * 12, "[Nn]egative"), ([0] * 12, "zero")):
        with pytest.raises(ValueError, match=words):
            a_classifier().fit(TEXTS, LABELS, sample_weight=weights)
    with pytest.raises(ValueError, match="expected targets that differ"):
        StepbusRegressor(**small.FAST).fit(TEXTS, [1.0] * 12)
