"""What a trainer predicts with: one model, or all of a run with the plugins that put their predictions together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stepbus.api.fits import FitModels, Said, said_of
from stepbus.base import BadInput
from stepbus.fit.loaders import LoaderData, is_loader
from stepbus.text.rows import a_thing

if TYPE_CHECKING:
    from stepbus.fit.opened import Predictor
    from stepbus.kernel import Predictions
    from stepbus.run.opened import OpenedRun


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
