"""The trained models of a run of several fits: each a trainer of its own, and what all of them predict together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

import numpy as np
from attrs import evolve, frozen

from stepbus.base import ModelError, listed
from stepbus.fit import unweighed
from stepbus.fit.opened import open_model
from stepbus.fit.seen import lineage_of, meeting
from stepbus.kernel import Lineage

if TYPE_CHECKING:
    from stepbus.fit.opened import OpenedModel, Predictor
    from stepbus.kernel import Predictions
    from stepbus.run.opened import OpenedRun

log = logging.getLogger(__name__)
T = TypeVar("T")
LOSS, LOSS_OF_FITS = "loss", "loss_mean_of_fits"


class FitModels(Sequence[T], Generic[T]):
    """The trained models of a run of several fits, in the order of its plan; each is opened when it is asked for.

    Args:
        folders: Name of each fit -> its model's folder.
        give: Makes what `fits[i]` is of an opened model.
        plugins: What was passed in Python.
        missing: Names of the fits of the run that have no model.
        trust: Grant what else the folders ask for.
        overrides: Settings by name.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        give: Callable[[OpenedModel, Sequence[Any]], T],
        plugins: Sequence[Any] = (),
        *,
        missing: Sequence[str] = (),
        trust: bool = False,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self.folders, self.give, self.plugins = dict(folders), give, tuple(plugins)
        self.missing, self.trust, self.overrides = tuple(missing), trust, overrides or {}
        self._told: set[str] = set()

    def _open(self, name: str) -> OpenedModel:
        folder = self.folders[name]
        return open_model(
            folder, trust=self.trust, plugins=self.plugins, overrides=self.overrides, name=name, told=self._told
        )

    @property
    def first(self) -> OpenedModel:
        """The first of them."""
        return self._open(next(iter(self.folders)))

    def refuse_missing(self) -> None:
        """Refuse to predict with some of the models of a run only.

        Raises:
            ModelError: A fit of the run has no model.
        """
        if self.missing:
            raise ModelError(
                f"the run has {len(self) + len(self.missing)} fits, and no model of {', '.join(self.missing)} yet; go "
                "on with train(resume=True), or take one of trainer.fits, which are those that are done"
            )

    def predictors(self, names: Sequence[str]) -> Iterator[Predictor]:
        """Give what predicts with some of them, one after the other; no two are open at once.

        Args:
            names: Names of their fits.

        Raises:
            ModelError: One cannot be opened.
        """
        for name in names:
            yield self._open(name).predictor

    def __len__(self) -> int:
        return len(self.folders)

    @overload
    def __getitem__(self, place: int) -> T: ...

    @overload
    def __getitem__(self, place: slice) -> list[T]: ...

    def __getitem__(self, place: int | slice) -> T | list[T]:
        names = list(self.folders)[place]
        if isinstance(names, list):
            return [self.give(self._open(name), self.plugins) for name in names]
        return self.give(self._open(names), self.plugins)


@frozen(eq=False)
class Said:
    """What the models of a run say of rows; with one model, what that one says.

    Args:
        predictions: What they say together, in the unit of the labels.
        loss: The mean of their own losses; NaN without labels.
        loss_name: What that is called: the loss where it is that of `predictions`; what plugins made of the outputs of
            models has no outputs, and so no loss of its own.
        logits: The mean of their raw outputs, [N, K].
        metrics: What scores predictions, by name.
    """

    predictions: Predictions
    loss: float
    loss_name: str
    logits: np.ndarray[Any, Any]
    metrics: Sequence[tuple[str, Any]]


def said_of(
    predictors: Iterable[Predictor], source: Any, run: OpenedRun | None = None, *, labelled: bool, raw: bool = False
) -> Said:
    """Return what models predict: each once for all rows, and what they say together, which is said.

    Args:
        predictors: The models.
        source: What holds the rows.
        run: The run that they are of; None for a single model.
        labelled: Whether to read labels and compute the loss.
        raw: Whether the logits are wanted.

    Raises:
        ModelError: Their outputs do not stand for the same.
    """
    names: list[str] = []
    meanings: list[tuple[Any, ...]] = []
    found: list[tuple[Predictions, float, np.ndarray[Any, Any]]] = []
    seen = Lineage()
    for predictor in predictors:
        names.append(predictor.name)
        meanings.append(_meaning(predictor))
        if meanings[-1] != meanings[0]:
            raise ModelError(
                f"the outputs of {names[0]} stand for {_listed(meanings[0])}, and those of {names[-1]} for "
                f"{_listed(meanings[-1])}, so they say nothing together; take one of trainer.fits, or name the folder "
                "of a fit"
            )
        source = predictor.read(source, labelled=labelled)  # once for all: a pipe gives its rows only once
        found.append(predictor.predict(source, labelled=labelled))
        seen |= lineage_of(getattr(predictor.steps, "model", None))
    if labelled and (met := meeting(seen, source)):
        whose = "the model has" if len(found) == 1 else "the models have"
        log.warning(
            "%s seen %s, to train or to be chosen by: scores of these rows say nothing of new ones",
            whose,
            met.said(f"rows of {source.source}"),
        )
    predictions, loss, logits = found[0]
    if predictions.weights is not None and (words := unweighed(predictor.metrics)):
        log.warning("%s", words)
    if run is not None:
        first, data = predictions, predictor.data
        predictions = run.predict([each for each, _, _ in found], getattr(data, "config", None), data.codec)
        # Whoever combines need not pass on what was not asked of him.
        predictions = evolve(predictions, labels=first.labels, weights=first.weights)
    if len(found) == 1:
        own = np.array_equal(predictions.values, found[0][0].values, equal_nan=True)  # else a plugin finished them
        return Said(predictions, loss, LOSS if own else LOSS_OF_FITS, logits, predictor.metrics)
    by = f", put together by {listed(run.combined_by)}" if run is not None else ""
    log.warning("predictions are those of %d fits%s: %s", len(names), by, ", ".join(names))
    if raw and predictor.data.task == "regression":
        log.warning("raw outputs count in the deviations of each fit's own training rows: their mean has no unit")
    losses = [each for _, each, _ in found]
    return Said(
        predictions, float(np.mean(losses)), LOSS_OF_FITS, _mean([each for *_, each in found]), predictor.metrics
    )


def _mean(arrays: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
    return np.mean(arrays, axis=0, dtype=np.float64).astype(arrays[0].dtype)


def _meaning(predictor: Predictor) -> tuple[Any, ...]:
    """Return what the outputs of a model stand for, in their order."""
    codec = predictor.data.codec
    return () if codec is None else (codec.task, *(codec.columns if codec.task == "regression" else codec.names))


def _listed(meaning: tuple[Any, ...]) -> str:
    return ", ".join(map(str, meaning[1:]))
