"""scikit-learn's own checks of the estimators, on tables of numbers, which are told as text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    estimator_checks_generator,
    parametrize_with_checks,
)

from stepbus import import_module
from stepbus_plugins.scikit_learn import StepbusClassifier, StepbusRegressor

small: Any = import_module(str(Path(__file__).parents[2] / "fixtures" / "estimators.py"))
CLASSIFIER, REGRESSOR = StepbusClassifier(**small.FAST), StepbusRegressor(**small.FAST)

# Check -> the property that forbids it. Each stands below in a form that the property allows.
BATCHES = "updates go by batches: a row of weight 2 counts twice in its batch, where two rows alike may stand in two"
LAST_BIT = (
    "texts become float32 logits in products of whole batches: the last bit may depend on a row's place, and the "
    "check allows 1e-9"
)
FORBIDDEN = {"check_sample_weight_equivalence_on_dense_data": BATCHES}
OF_CLASSIFIERS = {**FORBIDDEN, "check_methods_sample_order_invariance": LAST_BIT}
# Checks that scikit-learn makes only of estimators with other tags, and the tag.
LEFT_OUT = {
    "check_estimators_nan_inf": "allow_nan: an empty cell is told as such",
    "check_classifier_multioutput": "no multi_output: a row has one class",
    "check_classifiers_multilabel_representation_invariance": "no multi_label: a row has one class",
    "check_regressor_multioutput": "no multi_output: a row has one value",
    "check_estimator_sparse_matrix_support": "no sparse: a text is no vector",
    "check_array_api_input": "no array_api_support: texts are no numbers",
}


def forbidden(estimator: Any) -> dict[str, str]:
    return OF_CLASSIFIERS if isinstance(estimator, StepbusClassifier) else FORBIDDEN


@parametrize_with_checks([CLASSIFIER, REGRESSOR], expected_failed_checks=forbidden)  # type: ignore[untyped-decorator]
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


@pytest.mark.parametrize("estimator", [CLASSIFIER, REGRESSOR], ids=lambda each: type(each).__name__)
def test_they_are_many_and_no_other_is_left_out(estimator: Any) -> None:
    names = [getattr(check, "func", check).__name__ for _, check in estimator_checks_generator(estimator)]
    assert len(names) >= 50
    assert set(forbidden(estimator)) <= set(names)
    assert not {name for name in LEFT_OUT if name != "check_array_api_input"} & set(names)


@pytest.mark.parametrize("estimator", [CLASSIFIER, REGRESSOR], ids=lambda each: type(each).__name__)
def test_names_of_columns_are_held(estimator: Any) -> None:
    check_dataframe_column_names_consistency(type(estimator).__name__, estimator)
    assert estimator.__sklearn_tags__().input_tags.string


def rows() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    draw = np.random.default_rng(1)
    return draw.integers(0, 9, (12, 2)), np.arange(12) % 3, draw.integers(0, 3, 12)


@pytest.mark.parametrize("kind", [StepbusClassifier, StepbusRegressor])
def test_in_one_batch_without_dropout_a_weight_is_a_row_as_often(kind: Any) -> None:
    settings = {**small.FAST["settings"], "hidden_dropout": 0.0, "attention_dropout": 0.0}
    estimator = kind(**{**small.FAST, "batch_size": 64, "settings": settings})
    X, y, weights = rows()
    by_weight = estimator.fit(X, y, sample_weight=weights)
    found = said(by_weight, X)
    repeated = estimator.fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    np.testing.assert_allclose(said(repeated, X), found, rtol=2e-4)
    plain = estimator.fit(X, y)
    assert np.abs(said(plain, X) - found).max() > 1e-3


def test_a_row_without_weight_is_no_row() -> None:
    X, y, weights = rows()
    estimator = StepbusClassifier(**small.FAST)
    found = said(estimator.fit(X, y, sample_weight=(weights > 0) * 1.0), X)
    kept = weights > 0
    np.testing.assert_array_equal(said(estimator.fit(X[kept], y[kept], np.ones(kept.sum())), X), found)


@pytest.mark.parametrize("kind", [StepbusClassifier, StepbusRegressor])
def test_the_order_of_rows_changes_the_last_bits_at_most(kind: Any) -> None:
    X, y, _ = rows()
    estimator, order = kind(**small.FAST).fit(X, y), np.random.default_rng(2).permutation(12)
    for method in ("predict", "predict_proba", "decision_function"):
        if hasattr(estimator, method):
            ask = getattr(estimator, method)
            np.testing.assert_allclose(ask(X[order]), ask(X)[order], rtol=1e-6, atol=1e-7)


def said(estimator: Any, X: Any) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = getattr(estimator, "predict_proba", estimator.predict)(X)
    return found
