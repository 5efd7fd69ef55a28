"""What an estimator is given, X, y and weights, as the columns that a trainer reads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, check_array, validate_data

from stepbus import BadInput, StepbusError

TEXT = "text"  # the column of texts that came without a name
# Classes that are trained under their own names; others, which labels might take for one another, by their numbers.
_WORD = re.compile(r"[A-Za-z]\w*(?:[ -]\w+)*")


class EstimatorInputError(BadInput, ValueError):
    """An estimator was given what it cannot use; a ValueError, as scikit-learn's own are."""


@contextmanager
def as_value_errors() -> Iterator[None]:
    """Give what stepbus refuses as a ValueError."""
    try:
        yield
    except EstimatorInputError:
        raise
    except BadInput as error:
        raise EstimatorInputError(str(error)) from error


@contextmanager
def interrupts_as_such(kept: bool) -> Iterator[None]:
    """Let a signal end more than one fit: a search goes on with the next one after any other error.

    Args:
        kept: Whether the run's folder stays, so that somebody may go on with it.
    """
    try:
        yield
    except StepbusError as error:
        if error.exit_code <= 128:
            raise
        words = str(error) if kept else "interrupted; to go on later, name the parameter output_dir"
        raise (KeyboardInterrupt(words) if error.exit_code == 130 else SystemExit(error.exit_code)) from error


def rows_of(estimator: BaseEstimator, X: Any, *, reset: bool) -> pd.DataFrame:
    """Return what an estimator was given as a frame whose columns have texts as names.

    Args:
        estimator: It remembers names and number of the columns at a fit, and holds later ones against them.
        X: Texts, a list, a Series or an array [N]; or a frame or an array [N, C], a column for each feature.
        reset: Whether this is a fit.

    Raises:
        ValueError: It is none of these, or not what the estimator was fitted on.
    """
    if isinstance(X, str | bytes):
        raise EstimatorInputError("X: expected a list of texts, got a single text; write [text]")
    for method in ("to_pandas", "to_arrow"):
        if not isinstance(X, pd.DataFrame | pd.Series) and callable(getattr(X, method, None)):
            X = getattr(X, method)()
    texts = _texts(X)
    if not reset and texts is not None and hasattr(estimator, "n_features_in_"):
        raise EstimatorInputError(f"X: expected {estimator.n_features_in_} columns, as in fit, got texts [N]")
    if not reset and texts is None and not hasattr(estimator, "n_features_in_"):
        shape = getattr(X, "shape", (len(X),) if hasattr(X, "__len__") else ())
        raise EstimatorInputError(f"X: expected texts [N], as in fit, got a {type(X).__name__} of shape {shape}")
    if texts is not None:
        return pd.DataFrame({TEXT: texts})
    # Nothing is changed for it: which kinds of cells there are is told by the cells themselves.
    checked = check_array(X, dtype=None, ensure_all_finite=False, estimator=estimator, input_name="X")
    validate_data(estimator, X, reset=reset, skip_check_array=True)
    # An array's are named as those of a frame of it: what a column is called is part of a row's text.
    rows = X.reset_index(drop=True) if isinstance(X, pd.DataFrame) else pd.DataFrame(checked)
    if reset:
        estimator._columns = [str(name) for name in rows.columns]
    # Where only one of fit and this call has names, scikit-learn warns, and columns go by their places.
    return rows.set_axis(estimator._columns, axis=1)


def _texts(X: Any) -> list[Any] | None:
    """Return the cells of one column of texts; None where it is no such."""
    ndim = getattr(X, "ndim", 1 if isinstance(X, list | tuple) else 0)
    if ndim != 1 or not len(X) or getattr(getattr(X, "dtype", None), "kind", "O") in "biufc":
        return None
    cells = list(X)
    return cells if any(isinstance(cell, str) for cell in cells) and not any(map(_is_row, cells)) else None


def _is_row(cell: Any) -> bool:
    return isinstance(cell, list | tuple | np.ndarray)


def described(rows: pd.DataFrame, text_columns: Sequence[Any] | Any) -> dict[str, Any]:
    """Return the settings of section `data` by which a trainer reads rows.

    Args:
        rows: They.
        text_columns: One or two columns, by name or place, that are the text; None takes a single column of texts as
            such, and anything else as a table.

    Raises:
        ValueError: There is no such column.
    """
    if text_columns is None:
        if len(rows.columns) == 1 and _texts(rows.iloc[:, 0]) is not None:
            return {"type": "text", "text": str(rows.columns[0])}
        return {"type": "table", "columns": list(rows.columns)}
    given = text_columns.tolist() if hasattr(text_columns, "tolist") else text_columns  # an array, or a number of one
    chosen = [given] if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    names = [_column(rows, each) for each in chosen]
    if not 1 <= len(names) <= 2 or None in names:
        got = repr(chosen[names.index(None)]) if 1 <= len(names) <= 2 else f"{len(names)} columns"
        raise EstimatorInputError(f"text_columns: expected one or two of {list(rows.columns)}, got {got}")
    return {"type": "text", "text": names[0] if len(names) == 1 else names}


def _column(rows: pd.DataFrame, said: Any) -> str | None:
    """Return the name of the column that is meant by a name or a place; None where there is none."""
    number = len(rows.columns)
    if isinstance(said, Integral) and not isinstance(said, bool) and -number <= int(said) < number:
        return str(rows.columns[int(said)])
    return str(said) if isinstance(said, str) and said in rows.columns else None


def weights_of(sample_weight: Any, X: Any) -> np.ndarray[Any, Any] | None:
    """Return what each row counts, [N]; None where all count alike.

    Raises:
        ValueError: It is no weight for each row, or none is above 0.
    """
    if sample_weight is None:
        return None
    weights: np.ndarray[Any, Any] = _check_sample_weight(
        sample_weight, X, dtype=np.float64, ensure_non_negative=True, allow_all_zero_weights=True
    )
    if not (weights > 0).any():
        raise EstimatorInputError("sample_weight: expected a weight above 0 for some row, got zeros (all zero)")
    return weights


def class_names(classes: np.ndarray[Any, Any]) -> list[str]:
    """Return what labels are trained under, one text for each class.

    Args:
        classes: The classes, sorted, [K].
    """
    found = [str(each) for each in classes]
    words = all(isinstance(each, str) and _WORD.fullmatch(each) for each in classes)
    if np.issubdtype(classes.dtype, np.integer) or (words and len({each.casefold() for each in found}) == len(found)):
        return found
    return [f"class_{place}" for place in range(len(classes))]


def new_name(name: str, taken: Sequence[str]) -> str:
    """Return a column's name that no other column has."""
    while name in taken:
        name += "_"
    return name
