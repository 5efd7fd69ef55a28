"""What users hold: a configuration, and the weights between fits; train, evaluate, predict, save, load."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from attrs import evolve

from stepbus.base import BadInput, CheckpointError, usable
from stepbus.compute import ModuleForward
from stepbus.fit import FitSession, TextFits, persistence, score
from stepbus.fit.loaders import LoaderData, LoaderFits, is_loader, is_module
from stepbus.fit.opened import OpenedModel, Predictor, open_model
from stepbus.kernel import FitResult, Predictions
from stepbus.run import FolderStore, Run, Start
from stepbus.storage import checkpoints
from stepbus.text.rows import a_thing

if TYPE_CHECKING:
    from stepbus.compute.module_forward import Loss
    from stepbus.config import Config
    from stepbus.fit import FitBuilder

log = logging.getLogger(__name__)


class Trainer:
    """A model to train, any number of times; each `train` is a run with fresh state, plugins and schedule.

    Args:
        config: The configuration.
        model: A model of the caller's; none builds the one that the configuration describes.
        plugins: Classes, instances and modules with hooks, beside those that the configuration names.
        loss: The loss of a module of the caller's; see `create_trainer`.

    Attributes:
        config: The configuration of the next `train`.
        model: The model with its present weights; None before the first `train` where the caller gave none, and
            after a run of several fits.
        result: What the latest `train` returned.
        fits: The trained model of each fit of the latest run; each is a trainer.
    """

    def __init__(
        self, config: Config, model: Any = None, *, plugins: Sequence[Any] = (), loss: Loss | None = None
    ) -> None:
        self.config, self.model, self.loss = config.updated({}, plugins=plugins), model, loss
        if is_module(model):
            ModuleForward(model, loss)  # which refuses one without a loss
        self.result: FitResult | None = None
        self.fits: Sequence[Trainer] = ()
        self._predictors: Callable[[], Iterator[Predictor]] | None = None
        self._session: FitSession | None = None
        self._start: Start | None = None
        # What the caller's own objects remember before the first run, so that each run finds them so.
        self._memories = [(each, copy.deepcopy(each.state_dict())) for each in self.plugins if _remembers(each)]

    @property
    def plugins(self) -> tuple[Any, ...]:
        """What was passed in Python."""
        return self.config.extras

    @classmethod
    def of_model(cls, opened: OpenedModel, plugins: Sequence[Any] = ()) -> Trainer:
        """Return a trainer of a model that was opened.

        Args:
            opened: The model.
            plugins: What was passed to open it.
        """
        trainer = Trainer(opened.config, opened.model, plugins=plugins)
        trainer._predictors = lambda: iter([opened.predictor])
        trainer.fits = (trainer,)
        return trainer

    @classmethod
    def of_fits(cls, fits: FitModels) -> Trainer:
        """Return a trainer of all models of a run, whose predictions are their mean.

        Args:
            fits: The models.
        """
        trainer = Trainer(fits.first.config, plugins=fits.plugins)
        trainer.fits, trainer._predictors = fits, fits.predictors
        return trainer

    # -- training -----------------------------------------------------------------------------------------------------

    def train(
        self,
        train: Any = None,
        validation: Any = None,
        *,
        num_epochs: int | None = None,
        resume: bool | str | Path | None = False,
        allow_changed: bool = False,
        trace_hooks: bool = False,
    ) -> FitResult:
        """Train on rows given here, or on those that the configuration names, from the present weights.

        Args:
            train: A file, a pandas frame, or None for `data.train`; or an iterable of batches, dictionaries of arrays
                with `labels` among them: a list, a function that yields them (of the epoch, if it takes one), an object
                to iterate, with `set_epoch` or without.
            validation: The same for `data.validation`; a float is a fraction of the training rows.
            num_epochs: Epochs of this `train`; None takes `training.num_epochs`.
            resume: True to go on with the newest run of the output folder, or the path of a run or a checkpoint.
            allow_changed: Go on although something differs from what the run began with.
            trace_hooks: Print each call of a hook, with plugin and time, on the standard error.

        Returns:
            The result: status, metrics, predictions of the validation rows, and where the model lies.

        Raises:
            BadInput: Configuration, data, model or checkpoint cannot be used.
        """
        config = self.config if num_epochs is None else self.config.updated({"num_epochs": num_epochs})
        builder = self._builder(config, train, validation)
        store = FolderStore(config, resume=resume, allow_changed=allow_changed, start=None if resume else self._start)
        for plugin, memory in self._memories:
            plugin.load_state_dict(copy.deepcopy(memory))
        run = Run(config, builder, store, plugins=self.plugins, trace_hooks=trace_hooks)
        try:
            self.result = run.execute()
        finally:
            self._take_over(run)
        return self.result

    def _builder(self, config: Config, train: Any, validation: Any) -> FitBuilder:
        if is_module(self.model) or is_loader(train) or is_loader(validation):
            return LoaderFits(config, self.model, train, validation, self.loss)
        return TextFits(config, self.model, train, validation)

    def _take_over(self, run: Run) -> None:
        """Keep the weights and the folders of a run, whether it came to its end or not."""
        if not run.alone:
            folders = {result.fit.name: result.model_path for result in run.results if result.model_path is not None}
            if folders:
                self.fits = FitModels(folders, run.plugins)
                self._predictors, self._session, self._start = self.fits.predictors, None, None
            return
        session = run.sessions.get(run.fits[0].name)
        if session is None or not hasattr(session, "model"):
            finished = run.results[0].model_path if run.results else None  # a finished run that was resumed
            if finished is not None and isinstance(run.builder, LoaderFits):
                persistence.load_exported(self.model, finished)
                self._session, self._start, self._predictors, self.fits = None, None, None, (self,)
            elif finished is not None:
                self.fits = FitModels({run.fits[0].name: finished}, run.plugins)
                self._predictors = self.fits.predictors
            return
        self.model, self._session, self._start, self.fits = session.model, session, None, (self,)
        if hasattr(session, "steps"):
            predictor = Predictor(session.fit.name, session.data, session.steps, session.metrics)
            self._predictors = lambda: iter([predictor])

    def update_config(self, **overrides: Any) -> None:
        """Change settings for the next `train`, which starts from the present weights.

        Args:
            **overrides: Settings by name (`learning_rate=1e-6`), or by section and name with two underscores.
        """
        self.config = self.config.updated(overrides)

    # -- predicting ---------------------------------------------------------------------------------------------------

    def evaluate(self, data: Any, prefix: str = "eval") -> dict[str, float]:
        """Return the metrics of labelled rows; of the mean of the fits' predictions, where a run had several.

        Args:
            data: A file, a pandas frame, or rows; of a model that was trained on a loader, a loader.
            prefix: What stands before each metric's name.
        """
        predictions, loss, _, metrics = self._predict(data, labelled=True)
        found, words = score(metrics, predictions, loss, prefix)
        if words:
            log.warning("%s", words)
        return found

    def predict(self, data: Any, return_logits: bool = False) -> np.ndarray[Any, Any]:
        """Return predictions of rows, in their order: probabilities [N, K], or values [N] in the target's unit.

        Args:
            data: A file, a pandas frame, or rows; of a model that was trained on a loader, a loader.
            return_logits: Return the model's raw outputs [N, K] instead.
        """
        predictions, logits = self.predict_rows(data)
        return logits if return_logits else predictions.values

    def predict_rows(self, rows: Any) -> tuple[Predictions, np.ndarray[Any, Any]]:
        """Return predictions of rows with their ids, and the logits; their mean, where a run had several fits."""
        predictions, _, logits, _ = self._predict(rows, labelled=False)
        return predictions, logits

    def _predict(
        self, source: Any, *, labelled: bool
    ) -> tuple[Predictions, float, np.ndarray[Any, Any], Sequence[tuple[str, Any]]]:
        """Return predictions, mean loss, logits, and the metrics that score them; the mean over all fits."""
        names: list[str] = []
        values: list[np.ndarray[Any, Any]] = []
        logits: list[np.ndarray[Any, Any]] = []
        losses: list[float] = []
        for predictor in self._all():
            if is_loader(source) != isinstance(predictor.data, LoaderData):
                wanted = "rows (a file, a frame)" if is_loader(source) else "a loader, an iterable of batches"
                raise BadInput(f"expected {wanted}, as the model was trained on, got {a_thing(source)}")
            predictions, loss, raw = predictor.predict(source, labelled=labelled)
            names.append(predictor.name)
            values.append(predictions.values)
            logits.append(raw)
            losses.append(loss)
        if len(names) == 1:
            return predictions, losses[0], logits[0], predictor.metrics
        log.warning("predictions are the mean of %d fits: %s", len(names), ", ".join(names))
        mean = evolve(predictions, values=np.mean(values, axis=0, dtype=np.float64).astype(values[0].dtype))
        return mean, float(np.mean(losses)), np.mean(logits, axis=0), predictor.metrics

    @property
    def codec(self) -> Any:
        """What turns labels into numbers and back; None for batches that came with numbers."""
        return self._first().data.codec

    @property
    def encoder(self) -> Any:
        """What turns rows into tokens; only a model of text has one."""
        return self._first().data.encoder  # type: ignore[attr-defined]  # TextData alone has it

    def _first(self) -> Predictor:
        return next(self._all())

    def _all(self) -> Iterator[Predictor]:
        """Give what predicts: of each fit, or of a module of the caller's as it is."""
        if self._predictors is not None:
            return self._predictors()
        if is_module(self.model):
            return iter([Predictor("model", *LoaderFits(self.config, self.model, loss=self.loss).prediction())])
        raise BadInput("this trainer has not been trained: call train first, or open a trained model's folder")

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def save_checkpoint(self, path: str | Path | None = None, save_optimizer: bool = True) -> Path:
        """Write a checkpoint now.

        Args:
            path: The folder to write it in; none takes the fit's own. `load_checkpoint` takes the same.
            save_optimizer: Keep the optimizer's state, without which no resume is exact.

        Returns:
            The checkpoint's folder.

        Raises:
            CheckpointError: There is nothing to save yet, or the folder cannot be written.
        """
        session = self._trained("save")
        folder = None if path is None else usable(path, CheckpointError)
        return persistence.save(session, folder, optimizer=save_optimizer)

    def load_checkpoint(self, path: str | Path, load_optimizer: bool = True) -> None:
        """Put back the weights of a checkpoint; the next `train` goes on with it where its plan is the same.

        Args:
            path: The checkpoint's folder, or the one that `save_checkpoint` was given, of which the newest is taken.
            load_optimizer: Put the optimizer's state back as well.

        Raises:
            CheckpointError: There is no such checkpoint, it is damaged or of another model, or no weights are there
                to put it into.
        """
        model = self.model if is_module(self.model) else self._trained("load").model
        place = usable(path, CheckpointError)
        if checkpoints.step_of(place.name) is None:
            found = checkpoints.scan(place)
            if not found:
                raise CheckpointError(f"{place}: expected a checkpoint or a folder of some, found none")
            place = found[-1]
        persistence.load_weights(model, place)
        self._start = Start(place, load_optimizer)

    def _trained(self, verb: str) -> FitSession:
        """Return the fit that the model comes from."""
        if self._session is None:
            several = "its run had several fits, so name one of trainer.fits" if self.fits else "call train first"
            raise CheckpointError(
                f"there is no training state to {verb}: {several}"
                + ("" if verb == "save" or self.fits else ", or train(resume=PATH) to go on from a checkpoint")
            )
        return self._session


def _remembers(plugin: Any) -> bool:
    """Whether something passed in Python is an object with a state."""
    return not isinstance(plugin, type) and hasattr(plugin, "state_dict") and hasattr(plugin, "load_state_dict")


class FitModels(Sequence[Trainer]):
    """The trained models of a run of several fits, each a trainer; one is opened when it is asked for.

    Args:
        folders: Name of each fit -> its model's folder.
        plugins: What was passed in Python.
        trust: Grant what else the folders ask for.
        overrides: Settings by name.
    """

    def __init__(
        self,
        folders: Mapping[str, Path],
        plugins: Sequence[Any] = (),
        *,
        trust: bool = False,
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        self.folders, self.plugins, self.trust, self.overrides = dict(folders), tuple(plugins), trust, overrides or {}

    def _open(self, name: str) -> OpenedModel:
        folder = self.folders[name]
        return open_model(folder, trust=self.trust, plugins=self.plugins, overrides=self.overrides, name=name)

    @property
    def first(self) -> OpenedModel:
        """The first of them."""
        return self._open(next(iter(self.folders)))

    def predictors(self) -> Iterator[Predictor]:
        """Give what predicts with each of them; no two are open at once."""
        for name in self.folders:
            yield self._open(name).predictor

    def __len__(self) -> int:
        return len(self.folders)

    @overload
    def __getitem__(self, place: int) -> Trainer: ...

    @overload
    def __getitem__(self, place: slice) -> list[Trainer]: ...

    def __getitem__(self, place: int | slice) -> Trainer | list[Trainer]:
        names = list(self.folders)[place]
        if isinstance(names, list):
            return [Trainer.of_model(self._open(name), self.plugins) for name in names]
        return Trainer.of_model(self._open(names), self.plugins)
