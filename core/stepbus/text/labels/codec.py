"""Labels as arrays and back as words: what is predicted is learnt from training rows, and kept with the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.base import DataError, LabelArray, did_you_mean
from stepbus.base.scoring import Threshold, thresholds_of
from stepbus.config import Task
from stepbus.text.labels.checks import refuse_gaps
from stepbus.text.labels.columns import Column, distinct
from stepbus.text.labels.decoding import decoded_columns, in_words
from stepbus.text.labels.reading import flags, hard_names, numbers, present, spread
from stepbus.text.labels.soft import UNNAMED, aligned, soft_names
from stepbus.text.labels.state import checked_labels
from stepbus.text.labels.strata import strata_of
from stepbus.text.labels.words import one_word, spelt_otherwise, told_by
from stepbus.text.rows import Kind, Rows

if TYPE_CHECKING:
    from stepbus.config import Config

FloatArray = np.ndarray[tuple[int, ...], np.dtype[Any]]


class LabelCodec:
    """What is predicted: the task, the classes or columns, and the units of a regression.

    `stepbus.text.rows.cells` says how a label is spelt, and `stepbus.text.labels.words` when two are one class.

    Args:
        label: The column, or the 0/1 columns of a multilabel task; None where rows carry no labels.
        task: What the user says it is; None tells by all labels of the training source: several columns are
            multilabel; words, codes, and whole numbers with at most 20 different values are binary (2) or multiclass;
            other plain numbers are a regression.
        target: `log1p` learns log(1 + y) of a regression target instead of y.

    Attributes:
        task: The task, known after `fit`.
        reason: What the task was told by, in words; empty where the user said it.
        names: Class names (sorted, numbers by value), or the columns; `[column]` for a regression.
        kind: What class labels are: number, boolean or words.
        threshold: From which probability on a row is of the second of two classes, or has a label, as it was written.
        thresholds: That of each label, or of the second class; None is 0.5.

    Example:
        >>> trainer.codec.task, trainer.codec.names  # a LabelCodec
        ('binary', ['0', '1'])
    """

    def __init__(self, label: str | Sequence[str] | None, task: Task | None = None, target: str = "none") -> None:
        self.columns: tuple[str, ...] = () if label is None else (label,) if isinstance(label, str) else tuple(label)
        self.several = not (label is None or isinstance(label, str))  # a list, be it of one column
        self.named = bool(self.columns)  # whether there is a column of labels, and not only soft ones
        self.asked: Task | None = task
        self.task: Task | None = task
        self.target = target
        self.reason = ""
        self.names: list[str] = []
        self.kind: Kind = "words"
        self.mean = 0.0
        self.sd = 1.0
        self.threshold: Threshold | None = None
        self.thresholds: tuple[float, ...] | None = None

    @classmethod
    def of(cls, config: Config) -> LabelCodec:
        """Return the codec of a configuration: the task is that of `data.task`, else that of the head."""
        data, head = config.data.settings, config.model.settings.head
        # A scripted configuration (stepbus.testing) has a head by name only, and no model.
        task: Task | None = None if isinstance(head, str) else head.component.metadata["task"]
        asked = data.task or task
        if asked == "multilabel" and (
            rest := [name for name, each in (data.soft_labels or {}).items() if each is None]
        ):
            raise DataError(
                f"data.soft_labels: expected a column for each label of a multilabel task, where none has the rest of "
                f"others, got null for {rest[0]!r}"
            )
        codec = cls(data.label, asked, data.target)
        codec.threshold = data.threshold
        return codec

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
            if rows.soft is None:
                raise DataError("data.label: expected the column to predict, got none")
            self.columns = rows.classes if self.asked == "multilabel" else (UNNAMED,)
        if len(self.columns) == 1 and self.asked not in ("regression", "multilabel") and rows.soft is None:
            refuse_gaps(rows.origin, self.columns[0], self._cells(rows.origin))
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
            if rows.soft is not None:
                self._soft(rows)  # which refuses them
            self.names = list(self.columns)
            values = self._transformed(numbers(rows, self.columns[0], self.target))
            self.mean, self.sd = spread(values, rows.weights)
            if self.sd == 0:
                raise DataError(
                    f"{rows.source}: column {self.columns[0]!r}: expected targets that differ, got one value"
                )
        elif rows.soft is not None:
            written = rows.origin.cells(self.columns[0]) if self._are_written(rows) else []
            self.kind, self.names = soft_names(rows, {cell for cell in written if cell is not None}, task)
        else:
            everywhere = set(self._cells(rows.origin))
            self.kind, self.names = hard_names(
                rows, self.columns[0], everywhere, set(self._cells(rows)), task, told=bool(self.reason)
            )
        self.thresholds = thresholds_of(self.threshold, task, self.names, "data.threshold")

    def _infer(self, rows: Rows) -> Task:
        """Return the task that all labels of the source suggest, so that each of its parts has the same."""
        if len(self.columns) > 1 or (self.several and rows.soft is None):
            return "multilabel"
        if rows.soft is not None:
            number = max(2, len(rows.classes))
            self.reason = f"soft labels of {number} classes"
            return "binary" if number == 2 else "multiclass"
        task, self.reason = told_by(self._cells(rows.origin))
        return task

    def strata(self, rows: Rows, least: int) -> FloatArray:
        """Return a class number for each row, whose shares a split or folds keep.

        Args:
            rows: N rows with the label columns; the codec has seen the training rows.
            least: Combinations of labels that are rarer than this count as one class, and no part of a
                regression's range has fewer rows.

        Returns:
            int64 [N]: the classes, combinations of labels, or tenths of a regression target.
        """
        return strata_of(self.task, self.encode(rows), least)

    def encode(self, rows: Rows) -> LabelArray:
        """Return labels as splits and metrics want them, and the loss where no row has soft ones.

        Args:
            rows: N rows with the label columns; where a row with soft labels has no other, the most probable class,
                the first of several, or each label from a probability of one half on.

        Returns:
            int32 [N] class numbers; float32 [N, K] of 0 and 1; or float32 [N], standardised with the training rows'
            mean and deviation.

        Raises:
            DataError: A label is missing, no number, or unknown to training.
        """
        if self.task == "multilabel":
            return self._flags(rows)
        if self.task == "regression":
            return ((self._transformed(numbers(rows, self.columns[0], self.target)) - self.mean) / self.sd).astype(
                np.float32
            )
        classes = {one_word(name, self.kind): index for index, name in enumerate(self.names)}
        cells = self._cells(rows)
        position = {cell: classes.get(one_word(cell, self.kind)) for cell in set(cells)}
        for index, cell in enumerate(cells):
            if position[cell] is None:
                known = ", ".join(self.names[:20]) + (", …" if len(self.names) > 20 else "")
                near = spelt_otherwise(cell, self.names) or did_you_mean(cell, self.names)
                raise rows.error(
                    index, self.columns[0], f"expected a label that training has seen ({known}), got {cell!r}{near}"
                )
        return np.array([position[cell] for cell in cells], dtype=np.int32)

    def for_loss(self, rows: Rows) -> LabelArray:
        """Return labels as the loss wants them: soft ones where the rows have such, float32 [N, K]; else `encode`.

        Raises:
            DataError: A label cannot be used.
        """
        return self.encode(rows) if rows.soft is None else self._soft(rows).astype(np.float32)

    def targets_in_units(self, rows: Rows) -> LabelArray:
        """Return labels as metrics want them: as `encode`, but a regression target as it is written, float64 [N]."""
        return numbers(rows, self.columns[0], self.target) if self.task == "regression" else self.encode(rows)

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

    def decoded_columns(self, predictions: FloatArray, decided: LabelArray | None = None) -> list[Column]:
        """Name predictions as columns of a table; nothing is computed but what the probabilities come to.

        Args:
            predictions: Probabilities [N, K], or values [N] in the target's own unit, as `Predictions` has them.
            decided: Which classes were decided for otherwise, as `Predictions` has them.

        Returns:
            The label column(s) under their own names, of words (whole numbers where all classes are such), 0/1 or
            values; then `probability_NAME` for each. Where a probability is no number, no class is named.

        Raises:
            ValueError: Another shape, such as that of a model's standardised outputs, [N, 1].
        """
        return decoded_columns(self.task, self.columns, self.names, predictions, decided, self.thresholds)

    def in_words(self, labels: LabelArray) -> list[Column]:
        """Return labels, as `targets_in_units` returns them, as the columns that they would be written in."""
        if self.task in ("binary", "multiclass"):
            return [Column(self.columns[0], in_words(self.names, labels), own=True)]
        columns = labels.T.astype(np.int64) if self.task == "multilabel" else [labels]
        return [Column(name, column, own=True) for name, column in zip(self.columns, columns, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "columns": list(self.columns),
            "task": self.task,
            "target": self.target,
            "names": list(self.names),
            "kind": self.kind,
            "mean": self.mean,
            "sd": self.sd,
            **({} if self.thresholds is None else {"thresholds": list(self.thresholds)}),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            DataError: It is nothing that `state_dict` returns; the key is named.
        """
        state = checked_labels(saved)
        if not self.named or state["task"] == "multilabel":  # another column of labels may be named where it is opened
            self.columns = tuple(state["columns"])
        self.names = state["names"]
        self.task = self.asked = state["task"]
        self.target, self.kind = state["target"], state["kind"]
        self.mean, self.sd = state["mean"], state["sd"]
        self.thresholds = state["thresholds"]

    def _are_written(self, rows: Rows) -> bool:
        """Whether rows with soft labels have columns of others beside them."""
        return self.named and set(self.columns) <= set(rows.frame.columns)

    def _soft(self, rows: Rows) -> FloatArray:
        if self.task == "regression":
            raise DataError(
                f"{rows.source}: soft labels: expected none for regression, where the label is a value and no class; "
                "leave data.soft_labels out"
            )
        return aligned(rows, self.names, self.kind, exclusive=self.task != "multilabel")

    def _cells(self, rows: Rows) -> list[str]:
        """Return the class of each row, as it is spelt."""
        if rows.soft is None:
            return present(rows, self.columns[0])
        likely = [self.names[place] for place in self._soft(rows).argmax(axis=1).tolist()]
        if not self._are_written(rows):
            return likely
        cells = rows.cells(self.columns[0])
        return [name if cell is None else cell for name, cell in zip(likely, cells, strict=True)]

    def _transformed(self, values: FloatArray) -> FloatArray:
        return np.log1p(values) if self.target == "log1p" else values

    def _flags(self, rows: Rows) -> LabelArray:
        likely = None if rows.soft is None else (self._soft(rows) >= 0.5).astype(np.float32)
        if likely is not None and not self._are_written(rows):
            return likely
        return flags(rows, self.columns, likely)
