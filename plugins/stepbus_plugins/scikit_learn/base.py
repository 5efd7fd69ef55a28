"""What both estimators are: a trainer's settings as parameters, a run for each fit, and the run's model afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from stepbus import create_trainer, listed
from stepbus_plugins.scikit_learn.fitted import FittedRun, temporary_folder
from stepbus_plugins.scikit_learn.inputs import (
    EstimatorInputError,
    as_value_errors,
    described,
    interrupts_as_such,
    new_name,
    rows_of,
)

# Parameters that are settings of the same name.
_BY_NAME = ("pretrained", "size", "pooling", "learning_rate", "num_epochs", "batch_size", "max_length")
# Of a run in a temporary folder nobody resumes or reads these.
_OFF = ("checkpoint", "history", "costs", "predictions")


class Estimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both estimators do."""

    def __init__(
        self,
        pretrained: str | None = None,
        *,
        size: str | None = None,
        pooling: Any = None,
        learning_rate: float | None = None,
        num_epochs: int | None = None,
        batch_size: int | None = None,
        max_length: int | None = None,
        config: Any = None,
        settings: Mapping[str, Any] | None = None,
        text_columns: Any = None,
        output_dir: str | Path | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.pretrained = pretrained
        self.size = size
        self.pooling = pooling
        self.learning_rate = learning_rate
        self.num_epochs = num_epochs
        self.batch_size = batch_size
        self.max_length = max_length
        self.config = config
        self.settings = settings
        self.text_columns = text_columns
        self.output_dir = output_dir
        self.random_state = random_state
        self.verbose = verbose

    def _forget(self) -> None:
        """Take back an earlier fit: what a failed one leaves must not predict with half of each."""
        for name in [each for each in vars(self) if each.endswith("_") and not each.startswith("_")]:
            delattr(self, name)

    def _train(
        self, rows: pd.DataFrame, labels: Sequence[Any], weights: np.ndarray[Any, Any] | None, task: str
    ) -> None:
        """Train a new model on rows with labels."""
        data = described(rows, self.text_columns)
        columns = list(rows.columns)
        data["label"], data["task"] = new_name("label", columns), task
        rows = rows.assign(**{data["label"]: labels})
        data["weight"] = None
        if weights is not None:
            data["weight"] = new_name("weight", [*columns, data["label"]])
            rows = rows.assign(**{data["weight"]: weights})[weights > 0].reset_index(drop=True)
        chosen = self._settings({f"data__{name}": value for name, value in data.items()})
        temporary = temporary_folder() if self.output_dir is None else None
        folder = temporary / "run" if temporary is not None else Path(str(self.output_dir))
        self.fitted_run_ = FittedRun(folder, temporary)  # from now on somebody removes it
        with as_value_errors(), interrupts_as_such(temporary is None):
            made = create_trainer(config=self.config, **chosen, output_dir=str(folder))
            result = made.train(rows)
        if temporary is None:
            self.fitted_run_ = FittedRun(Path(result.directory))
        self.fitted_run_.plugins = made.plugins  # the trainer knows also those that came in a configuration
        self.history_, self.n_steps_ = result.frame(), result.steps

    def _settings(self, data: dict[str, Any]) -> dict[str, Any]:
        """Return the settings of a fit by name."""
        given = {name: value for name in _BY_NAME if (value := getattr(self, name)) is not None}
        if self.random_state is not None:
            seed = self.random_state
            given["seed"] = int(seed if isinstance(seed, Integral) else check_random_state(seed).randint(2**31 - 1))
        chosen = dict(self.settings or {})
        if "output_dir" in chosen:
            raise EstimatorInputError("settings: output_dir is a parameter of the estimator; set it there")
        if twice := [name for name in given if name in chosen]:
            names = ["random_state" if name == "seed" else name for name in twice]
            raise EstimatorInputError(
                f"settings: {listed(twice)} is said twice; leave it out there, or the parameter {listed(names)}"
            )
        for name in _OFF if self.output_dir is None else ():
            chosen.setdefault(name, False)
        chosen.setdefault("progress", bool(self.verbose))
        return {**chosen, **given, **data}

    def _said(self, X: Any) -> Any:
        """Return what the model says of rows, and its raw outputs."""
        check_is_fitted(self)
        rows = rows_of(self, X, reset=False)
        with as_value_errors():
            return self.trainer_.predict_rows(rows)

    @property
    def trainer_(self) -> Any:
        """The trained model as a trainer: `evaluate`, `predict`, `save_checkpoint`, `fits`."""
        check_is_fitted(self)
        with as_value_errors():
            return self.fitted_run_.trainer

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_steps_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.categorical = True  # `one_d_array` would be numbers [N]
        tags.input_tags.allow_nan = True  # an empty cell of a table is told as such
        return tags
