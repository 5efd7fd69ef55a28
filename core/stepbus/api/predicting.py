"""What a trainer predicts with: one model, or all of a run with the plugins that put their predictions together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stepbus.api.arguments import flag, prefix_of, rows_of
from stepbus.api.fits import FitModels, Said, said_of
from stepbus.api.starting import check_own
from stepbus.base import BadInput
from stepbus.fit import score
from stepbus.fit.loaders import LoaderData, LoaderFits, is_loader, is_module
from stepbus.fit.opened import Predictor
from stepbus.text.rows import a_thing

if TYPE_CHECKING:
    import numpy as np

    from stepbus.compute import Loss
    from stepbus.config import Config
    from stepbus.fit import FitSession
    from stepbus.kernel import Predictions
    from stepbus.run import Start
    from stepbus.run.opened import OpenedRun

log = logging.getLogger(__name__)
# Compiled steps and their arrays are of one thread at a time, and fits may share them: a server's threads take turns.
_one_at_a_time = threading.RLock()
UNTRAINED = "this trainer has not been trained: call train first, or open a trained model's folder"


class Models:
    """One model, or those of a run.

    Args:
        predictors: Gives what predicts, one after the other, in the order of the run's fits.
        open_run: Opens the run that they are of, once something is predicted; None where they are of none.
    """

    def __init__(
        self, predictors: Callable[[], Iterator[Predictor]], open_run: Callable[[], OpenedRun] | None = None
    ) -> None:
        self._predictors, self._open_run = predictors, open_run

    @classmethod
    def of_fits(cls, fits: FitModels[Any], open_run: Callable[[], OpenedRun]) -> Models:
        """Return the models of a run of several fits: those that take part in its predictions.

        Args:
            fits: All of them.
            open_run: Opens the run.
        """

        def whole() -> OpenedRun:
            fits.refuse_missing()
            return open_run()

        def predictors() -> Iterator[Predictor]:
            assert models.run is not None
            return fits.predictors([fit.name for fit in models.run.fits])

        models = cls(predictors, whole)
        return models

    @cached_property
    def run(self) -> OpenedRun | None:
        """The run that they are of."""
        return None if self._open_run is None else self._open_run()

    @property
    def first(self) -> Predictor:
        """What predicts with the first of them."""
        return next(self._predictors())

    def said_of(self, source: Any, *, labelled: bool = False, raw: bool = False) -> Said:
        """Return what they say of rows together.

        Args:
            source: What holds the rows; it has to suit them.
            labelled: Whether to read labels and compute the loss.
            raw: Whether the logits are wanted.
        """
        with _one_at_a_time:
            return said_of(self._suiting(source), source, self.run, labelled=labelled, raw=raw)

    def of_the_run(self, loaded: bool = False) -> tuple[Predictions | None, str]:
        """Return what the run itself said of its rows to predict, where that still holds, and the file that has them.

        Args:
            loaded: Whether the model has weights of a checkpoint that was loaded since.

        Raises:
            BadInput: The run had no such rows, or they were given in Python and have to be given again.
        """
        if self.run is None:
            raise BadInput(
                "expected rows to predict, got none; of a model by itself no such rows are known: name a file"
            )
        kept, source = self.run.predicted().get("test"), self.run.source
        if loaded:
            kept = None
        if kept is None and source is None:
            why = "this run has none of its own; name a file (or set data.test before the training)"
            if self.run.has_predicted:
                why = (
                    "those of the run were given in Python and are not kept; its weights are others now, so name a file"
                )
            raise BadInput(f"{self.run.directory}: expected rows to predict, got none, and {why}")
        return kept, source or ""

    def _suiting(self, source: Any) -> Iterator[Predictor]:
        for predictor in self._predictors():
            if is_loader(source) != isinstance(predictor.data, LoaderData):
                wanted = "rows (a file, a frame)" if is_loader(source) else "a loader, an iterable of batches"
                raise BadInput(f"expected {wanted}, as the model was trained on, got {a_thing(source)}")
            yield predictor


class PredictionMethods:
    """What a trainer predicts, and how well."""

    config: Config
    model: Any
    loss: Loss | None
    _models: Models | None
    _session: FitSession | None
    _start: Start | None

    def evaluate(self, data: Any = None, prefix: str = "eval", *, dataloader: Any = None) -> dict[str, float]:
        """Return the metrics of labelled rows; those of fits together have `eval_loss_mean_of_fits`, and no loss.

        Args:
            data: A file, a pandas frame, or rows; of a model that was trained on a loader, a loader.
            prefix: What stands before each metric's name, with an underscore between them.
            dataloader: Another name of `data`.

        Example:
            >>> trainer.evaluate("dev.csv", prefix="test")["test_accuracy"]
            1.0
        """
        prefix = prefix_of(prefix)
        said = self._predicting().said_of(rows_of(data, dataloader), labelled=True)
        found, words = score(said.metrics, said.predictions, said.loss, prefix, said.loss_name)
        if words:
            log.warning("%s", words)
        return found

    def predict(self, data: Any = None, return_logits: bool = False, *, dataloader: Any = None) -> np.ndarray[Any, Any]:
        """Return predictions of rows, in their order: probabilities [N, K], or values [N] in the target's unit.

        Args:
            data: A file, a pandas frame, rows, or a list of texts where they are one column; of a model that was
                trained on a loader, a loader.
            return_logits: Return the model's raw outputs [N, K] instead.
            dataloader: Another name of `data`.

        Example:
            >>> trainer.predict(["a good film", "a dull film"]).argmax(axis=1)
            array([1, 0])
            >>> trainer.predict("dev.csv", return_logits=True).shape
            (16, 2)
        """
        return_logits = flag(return_logits, "return_logits")
        said = self._predicting().said_of(rows_of(data, dataloader), raw=return_logits)
        return said.logits if return_logits else said.predictions.values.copy()

    def predict_rows(self, rows: Any) -> tuple[Predictions, np.ndarray[Any, Any]]:
        """Return predictions of rows with their ids, and the logits; those of all fits together, of several."""
        said = self._predicting().said_of(rows)
        return said.predictions, said.logits

    def predicted_rows(self) -> tuple[Predictions | None, str]:
        """Return what the run said of its own rows to predict, where that still holds, and the file that has them."""
        return self._predicting().of_the_run(loaded=self._start is not None)

    @property
    def codec(self) -> Any:
        """What turns labels into numbers and back; None for batches that came with numbers."""
        return self._predicting().first.data.codec

    @property
    def encoder(self) -> Any:
        """What turns rows into tokens; only a model of text has one."""
        return self._predicting().first.data.encoder  # type: ignore[attr-defined]  # TextData alone has it

    def _predicting(self) -> Models:
        """Return what predicts; a module of the caller's does so as it is."""
        if self._models is not None:
            check_own(self.model, self._session)
            return self._models
        if not is_module(self.model):
            raise BadInput(UNTRAINED)
        parts = LoaderFits(self.config, self.model, loss=self.loss).prediction()
        return Models(lambda: iter([Predictor("model", *parts)]))
