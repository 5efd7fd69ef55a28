"""Labels as arrays and back as words: what is predicted is learnt from training rows, and kept with the model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.errors import DataError, did_you_mean
from stepbus.result_columns import Column, distinct
from stepbus.rows import FEW, Rows, shown
from stepbus.sections import Task
from stepbus.tokens import LabelArray

if TYPE_CHECKING:
    import pandas as pd

FloatArray = np.ndarray[tuple[int, ...], np.dtype[Any]]

INTEGRAL = re.compile(r"-?(0|[1-9][0-9]*)(\.0*)?")
YES = frozenset({"1", "true", "True", "TRUE"})
NO = frozenset({"0", "false", "False", "FALSE"})


class LabelCodec:
    """What is predicted: the task, the classes or columns, and the units of a regression.

    Args:
        label: The column, or the 0/1 columns of a multilabel task; None where rows carry no labels.
        task: What the user says it is; None tells by the training labels: several columns are multilabel, words are
            binary (2) or multiclass, whole numbers with at most 20 different values are classes, else regression.
        target: `log1p` learns log(1 + y) of a regression target instead of y.

    Attributes:
        task: The task, known after `fit`.
        names: Class names (sorted, numbers by value), or the columns; `[column]` for a regression.
    """

    def __init__(self, label: str | Sequence[str] | None, task: Task | None = None, target: str = "none") -> None:
        self.columns: tuple[str, ...] = () if label is None else (label,) if isinstance(label, str) else tuple(label)
        self.asked: Task | None = task
        self.task: Task | None = task
        self.target = target
        self.names: list[str] = []
        self.mean = 0.0
        self.sd = 1.0

    @property
    def outputs(self) -> int:
        """Size of the logits' last axis: classes (2 for binary), columns, or 1 for regression."""
        return 1 if self.task == "regression" else len(self.names)

    def fit(self, rows: Rows) -> None:
        """Learn task, classes and units from training rows.

        Raises:
            DataError: There is no label column, a label is missing, or the labels do not fit the task.
        """
        if not self.columns:
            raise DataError("data.label: expected the column to predict, got none")
        task = self.asked or self._infer(rows)
        if len(self.columns) > 1 and task != "multilabel":
            raise DataError(f"data.label: expected one column for {task}, got {len(self.columns)}")
        if self.target != "none" and task != "regression":
            raise DataError(f"data.target: expected none for {task}, got {self.target!r}, which is for regression")
        self.task = task
        if task == "multilabel":
            self.names = list(self.columns)
            self._flags(rows)
        elif task == "regression":
            self.names = list(self.columns)
            values = self._transformed(self._numbers(rows))
            self.mean, self.sd = float(values.mean()), float(values.std())
            if self.sd == 0:
                raise DataError(
                    f"{rows.source}: column {self.columns[0]!r}: expected targets that differ, got one value"
                )
        else:
            self.names = _sorted(set(self._words(rows)))
            if len(self.names) < 2 or (task == "binary" and len(self.names) != 2):
                some = ", ".join(self.names[:10]) + (", …" if len(self.names) > 10 else "")
                wanted = "two" if task == "binary" else "at least two"
                raise DataError(
                    f"{rows.source}: column {self.columns[0]!r}: expected {wanted} different labels for {task}, "
                    f"got {len(self.names)}: {some}"
                )

    def _infer(self, rows: Rows) -> Task:
        if len(self.columns) > 1:
            return "multilabel"
        values = self._present(rows, self.columns[0])
        words = {_word(value) for value in values}
        whole = all(INTEGRAL.fullmatch(word) for word in words)
        if (whole and len(words) > FEW) or (not whole and all(_number(value) is not None for value in values)):
            return "regression"
        return "binary" if len(words) <= 2 else "multiclass"

    def encode(self, rows: Rows) -> LabelArray:
        """Return labels as the loss wants them.

        Args:
            rows: N rows with the label columns.

        Returns:
            int32 [N] class numbers; float32 [N, K] of 0 and 1; or float32 [N], standardised with the training rows'
            mean and deviation.

        Raises:
            DataError: A label is missing, no number, or unknown to training.
        """
        if self.task == "multilabel":
            return self._flags(rows)
        if self.task == "regression":
            return ((self._transformed(self._numbers(rows)) - self.mean) / self.sd).astype(np.float32)
        position = {name: index for index, name in enumerate(self.names)}
        words = self._words(rows)
        for index, word in enumerate(words):
            if word not in position:
                known = ", ".join(self.names[:20]) + (", …" if len(self.names) > 20 else "")
                raise rows.error(
                    index,
                    self.columns[0],
                    f"expected a label that training has seen ({known}), got {word!r}{did_you_mean(word, self.names)}",
                )
        return np.array([position[word] for word in words], dtype=np.int32)

    def targets_in_units(self, rows: Rows) -> LabelArray:
        """Return labels as metrics want them: as `encode`, but a regression target as it is written, float64 [N]."""
        return self._numbers(rows) if self.task == "regression" else self.encode(rows)

    def to_units(self, predictions: FloatArray) -> FloatArray:
        """Return predictions as metrics want them.

        Args:
            predictions: Probabilities [N, K], or standardised values [N, 1] or [N].

        Returns:
            Probabilities as they are, or values in the target's own units, float64 [N].
        """
        if self.task != "regression":
            return predictions
        values = np.asarray(predictions, dtype=np.float64).reshape(len(predictions)) * self.sd + self.mean
        with np.errstate(over="ignore"):
            return np.expm1(values) if self.target == "log1p" else values

    def decode(self, predictions: FloatArray) -> dict[str, LabelArray]:
        """Return predictions as columns of a table, each under a name of its own (see `decoded_columns`)."""
        return distinct(self.decoded_columns(predictions))[0]

    def decoded_columns(self, predictions: FloatArray) -> list[Column]:
        """Name predictions as columns of a table; nothing is computed but which class has the greatest probability.

        Args:
            predictions: Probabilities [N, K], or values [N] in the target's own unit, as `Predictions` has them.

        Returns:
            The label column(s) under their own names, of words (or whole numbers where all classes are such), 0/1 or
            values; then `probability_NAME` for each class or column. Where a probability is no number, no class is
            named.

        Raises:
            ValueError: The predictions have another shape, such as a model's standardised outputs [N, 1].
        """
        wanted = 1 if self.task == "regression" else 2
        if predictions.ndim != wanted or (wanted == 2 and predictions.shape[1] != len(self.names)):
            columns = f"[N, {len(self.names)}] probabilities" if wanted == 2 else "[N] values in the target's own unit"
            raise ValueError(f"expected {columns}, got an array of shape {list(predictions.shape)}")
        if self.task == "regression":
            return [Column(self.columns[0], predictions, own=True)]
        chances = [Column(f"probability_{name}", predictions[:, index]) for index, name in enumerate(self.names)]
        if self.task == "multilabel":
            flags = [_known((column >= 0.5).astype(np.int64), np.isfinite(column)) for column in predictions.T]
            return [*(Column(name, flag, own=True) for name, flag in zip(self.names, flags, strict=True)), *chances]
        whole = all(re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", name) for name in self.names)
        classes = np.array([int(name) for name in self.names]) if whole else np.array(self.names, dtype=object)
        chosen = _known(classes[predictions.argmax(axis=1)], np.isfinite(predictions.sum(axis=1)))
        return [Column(self.columns[0], chosen, own=True), *chances]

    def state_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "columns": list(self.columns),
            "task": self.task,
            "target": self.target,
            "names": list(self.names),
            "mean": self.mean,
            "sd": self.sd,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.columns = tuple(saved["columns"])
        self.task = self.asked = saved["task"]
        self.target = saved["target"]
        self.names = list(saved["names"])
        self.mean, self.sd = float(saved["mean"]), float(saved["sd"])

    def _present(self, rows: Rows, column: str) -> pd.Series[Any]:
        values = rows.column(column, "data.label")
        empty = np.flatnonzero(rows.missing(column))
        if len(empty):
            raise rows.error(int(empty[0]), column, f"expected a label, got an empty field{_and_more(len(empty))}")
        return values

    def _words(self, rows: Rows) -> list[str]:
        return [_word(value) for value in self._present(rows, self.columns[0])]

    def _numbers(self, rows: Rows) -> FloatArray:
        column = self.columns[0]
        numbers = [_number(value) for value in self._present(rows, column)]
        for index, number in enumerate(numbers):
            if number is None or not np.isfinite(number):
                value = rows.frame[column].iloc[index]
                raise rows.error(index, column, f"expected a finite number as regression target, got {shown(value)}")
            if self.target == "log1p" and number <= -1:
                raise rows.error(index, column, f"expected a target above -1 for data.target: log1p, got {number:g}")
        return np.array(numbers, dtype=np.float64)

    def _transformed(self, values: FloatArray) -> FloatArray:
        return np.log1p(values) if self.target == "log1p" else values

    def _flags(self, rows: Rows) -> LabelArray:
        flags = np.zeros((len(rows), len(self.columns)), dtype=np.float32)
        for position, column in enumerate(self.columns):
            for index, word in enumerate(_word(value) for value in self._present(rows, column)):
                if word not in YES | NO:
                    raise rows.error(index, column, f"expected 0 or 1, as in every label column, got {word!r}")
                flags[index, position] = word in YES
        return flags


def _known(values: LabelArray, known: LabelArray) -> LabelArray:
    """Return values with None where they are not known."""
    if known.all():
        return values
    found = values.astype(object)
    found[~known] = None
    return found


def _word(value: Any) -> str:
    """Return a label's one spelling: 1, 1.0, "1" and "1.0" are all "1"."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    text = str(value).strip()
    return text.split(".")[0] if INTEGRAL.fullmatch(text) else text


def _number(value: Any) -> float | None:
    if isinstance(value, bool | np.bool_):
        return None
    try:
        return float(value) if "_" not in str(value) else None
    except (TypeError, ValueError):
        return None


def _sorted(words: set[str]) -> list[str]:
    """Sort numbers by value, words by letter."""
    numbers = {word: _number(word) for word in words}
    return (
        sorted(words, key=lambda word: (numbers[word] or 0.0, word)) if None not in numbers.values() else sorted(words)
    )


def _and_more(count: int) -> str:
    return f" ({count} rows have none)" if count > 1 else ""
