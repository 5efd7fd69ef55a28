"""What users hold: a configuration, and the weights between fits; train, evaluate, predict, save, load."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.api.checkpoints_by_hand import load_weights, named_checkpoint, save_by_hand
from stepbus.api.fits import FitModels
from stepbus.api.predicting import Models
from stepbus.api.starting import Memories, model_changes, why_none
from stepbus.base import BadInput, CheckpointError, Selected, from_here, usable
from stepbus.compute import ModuleForward
from stepbus.fit import FitSession, TextFits, persistence, score
from stepbus.fit.loaders import LoaderFits, is_loader, is_module
from stepbus.fit.opened import OpenedModel, Predictor, open_model
from stepbus.run import FolderStore, Run, Start
from stepbus.run.opened import OpenedRun

if TYPE_CHECKING:
    import numpy as np

    from stepbus.compute import Loss
    from stepbus.config import Config
    from stepbus.fit import FitBuilder
    from stepbus.kernel import FitResult, Predictions


log = logging.getLogger(__name__)
UNTRAINED = "this trainer has not been trained: call train first, or open a trained model's folder"


class Trainer:
    """A model to train, any number of times; each `train` is a run with fresh state, plugins and schedule.

    Args:
        config: The configuration.
        model: A model of the caller's; none builds the one that the configuration describes.
        plugins: Classes, instances and modules with hooks, beside those that the configuration names.
        loss: The loss of a module of the caller's; see `create_trainer`.

    Attributes:
        config: The configuration of the next `train`.
        model: The model that the next `train` starts from; None where that builds one. A run of several fits leaves it
            as it was: their models are in `fits`.
        result: What the latest `train` returned; None where it failed.
        fits: The trained model of each fit of the latest run; each is a trainer.
    """

    def __init__(
        self, config: Config, model: Any = None, *, plugins: Sequence[Any] = (), loss: Loss | None = None
    ) -> None:
        self.config, self.model, self.loss = config.updated({}, plugins=plugins), model, loss
        if is_module(model):
            ModuleForward(model, loss)  # which refuses one without a loss
        self._here = Path.cwd()  # where relative folders start, whatever the working directory becomes
        self.result: FitResult | None = None
        self.fits: Sequence[Trainer] = ()
        self._given = model
        settings = getattr(model, "settings", None)
        # What the model was made from; of a caller's own that may be unknown.
        self._made_from: Selected | None = settings if isinstance(settings, Selected) else self.config.model
        self._models: Models | None = None  # what predicts
        self._session: FitSession | None = None  # of the latest fit, where the trainer's own model comes from it
        self._start: Start | None = None  # a checkpoint that was loaded
        self._memories: Memories | None = None

    @property
    def plugins(self) -> tuple[Any, ...]:
        """What was passed in Python."""
        return self.config.extras

    @classmethod
    def of_model(cls, opened: OpenedModel, plugins: Sequence[Any] = (), run: OpenedRun | None = None) -> Trainer:
        """Return a trainer of a model that was opened.

        Args:
            opened: The model.
            plugins: What was passed to open it.
            run: The run whose only model it is; None for a model by itself.
        """
        trainer = Trainer(opened.config, plugins=plugins)
        trainer.model = opened.model
        trainer._models = Models(lambda: iter([opened.predictor]), None if run is None else lambda: run)
        trainer.fits = (trainer,)
        return trainer

    @classmethod
    def of_fits(cls, fits: FitModels[Trainer], run: OpenedRun) -> Trainer:
        """Return a trainer of all models of a run.

        Args:
            fits: The models.
            run: The run, which puts their predictions together.
        """
        trainer = Trainer(fits.first.config, plugins=fits.plugins)
        trainer.fits, trainer._models, trainer._made_from = fits, Models.of_fits(fits, lambda: run), None
        return trainer

    # -- training -----------------------------------------------------------------------------------------------------

    def train(
        self,
        train: Any = None,
        validation: Any = None,
        test: Any = None,
        *,
        num_epochs: int | None = None,
        resume: bool | str | Path | None = False,
        allow_changed: bool = False,
        trace_hooks: bool = False,
    ) -> FitResult:
        """Train on rows given here, or on those that the configuration names, from the present weights.

        Args:
            train: A file, a pandas frame, or None for `data.train`; or an iterable of batches, dictionaries of arrays
                with `labels` among them: a list, an object (perhaps with `set_epoch`), a function (of the epoch).
            validation: The same for `data.validation`; a float is a fraction of the training rows.
            test: The same for `data.test`: rows to predict, whose labels are not read; `result.predictions["test"]`.
            num_epochs: Epochs of this `train`; None takes `training.num_epochs`.
            resume: True to go on with the newest run of the output folder, or the path of a run or a checkpoint.
            allow_changed: Go on although something differs from what the run began with.
            trace_hooks: Print each call of a hook, with plugin and time, on the standard error.

        Returns:
            The result: status, metrics, predictions of the validation and the test rows, and where the model lies.

        Raises:
            BadInput: Configuration, data, model or checkpoint cannot be used.
        """
        config = self.config if num_epochs is None else self.config.updated({"num_epochs": num_epochs})
        builder = self._builder(config, train=train, validation=validation, test=test)
        start = None if resume else self._start
        store = FolderStore(config, resume=resume, allow_changed=allow_changed, start=start, here=self._here)
        self._memories = self._memories or Memories(self.plugins)
        self._memories.put_back()
        run = Run(config, builder, store, plugins=self.plugins, trace_hooks=trace_hooks)
        self.result = None
        try:
            self.result = run.execute()
        finally:
            self._take_over(run, config)
        return self.result

    def _builder(self, config: Config, **sources: Any) -> FitBuilder:
        """Return what makes the parts of the next run's fits, which start from the present weights."""
        if is_module(self.model) or any(map(is_loader, sources.values())):
            return LoaderFits(config, self.model, loss=self.loss, **sources)
        if self._made_from is None:
            raise BadInput(
                f"this trainer is the mean of {len(self.fits)} fits, which cannot be trained as one; go on with one of "
                "them (trainer.fits[0].train(…)), or start anew with create_trainer"
            )
        changed = self.model is not None and model_changes(self._made_from, config.model)
        return TextFits(
            config,
            self.model,
            **sources,
            fixed=self.model is self._given,
            changed=changed,
            trained=self._session is not None,
        )

    def _take_over(self, run: Run, config: Config) -> None:
        """Keep the weights and the folders of a run, whether it came to its end or not."""
        open_run = partial(OpenedRun, run.directory.absolute(), trust=True, plugins=run.plugins)
        if len(run.fits) != 1:
            paths = {each.fit.name: each.model_path for each in run.results if not each.fit.auxiliary}
            folders = {name: path.absolute() for name, path in paths.items() if path is not None}
            if folders:
                missing = [fit.name for fit in run.fits if fit.name not in folders and not fit.auxiliary]
                # What this run itself wrote is trusted.
                fits = FitModels(folders, Trainer.of_model, run.plugins, missing=missing, trust=True)
                self.fits, self._models, self._session, self._start = fits, Models.of_fits(fits, open_run), None, None
            return
        (fit,) = run.fits
        session = run.sessions.get(fit.name)
        if session is not None and hasattr(session, "steps"):
            predictor = Predictor(fit.name, session.data, session.steps, session.metrics, session)
            self.model, self._session = session.model, session
        elif not run.results or run.results[0].model_path is None:
            return
        elif isinstance(run.builder, LoaderFits):  # a finished run that was resumed
            persistence.load_exported(self.model, run.results[0].model_path)
            self._session, self._start, self._models, self.fits = None, None, None, (self,)
            return
        else:
            opened = open_model(run.results[0].model_path, trust=True, plugins=run.plugins, name=fit.name)
            predictor, self._session = opened.predictor, None
            if self.model is None:
                self.model = opened.model
            else:
                persistence.load_exported(self.model, opened.folder)
        self._made_from, self._start, self.fits = run.variants.of(fit).config.model, None, (self,)
        self._models = Models(lambda: iter([predictor]), None if self.result is None else open_run)

    def update_config(self, **overrides: Any) -> None:
        """Change settings for the next `train`, which starts from the present weights.

        Args:
            **overrides: Settings by name (`learning_rate=1e-6`), or by section and name with two underscores.
        """
        self.config = self.config.updated(overrides)

    # -- predicting ---------------------------------------------------------------------------------------------------

    def evaluate(self, data: Any, prefix: str = "eval") -> dict[str, float]:
        """Return the metrics of labelled rows; those of fits together have `eval_loss_mean_of_fits`, and no loss.

        Args:
            data: A file, a pandas frame, or rows; of a model that was trained on a loader, a loader.
            prefix: What stands before each metric's name.
        """
        said = self._predicting().said_of(data, labelled=True)
        found, words = score(said.metrics, said.predictions, said.loss, prefix, said.loss_name)
        if words:
            log.warning("%s", words)
        return found

    def predict(self, data: Any, return_logits: bool = False) -> np.ndarray[Any, Any]:
        """Return predictions of rows, in their order: probabilities [N, K], or values [N] in the target's unit.

        Args:
            data: A file, a pandas frame, or rows; of a model that was trained on a loader, a loader.
            return_logits: Return the model's raw outputs [N, K] instead.
        """
        said = self._predicting().said_of(data, raw=return_logits)
        return said.logits if return_logits else said.predictions.values.copy()

    def predict_rows(self, rows: Any) -> tuple[Predictions, np.ndarray[Any, Any]]:
        """Return predictions of rows with their ids, and the logits; those of all fits together, of several."""
        said = self._predicting().said_of(rows)
        return said.predictions, said.logits

    def predicted_rows(self) -> tuple[Predictions | None, str]:
        """Return what the run said of its own rows to predict, where that still holds, and the file that has them."""
        return self._predicting().of_the_run()

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
            return self._models
        if not is_module(self.model):
            raise BadInput(UNTRAINED)
        parts = LoaderFits(self.config, self.model, loss=self.loss).prediction()
        return Models(lambda: iter([Predictor("model", *parts)]))

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
        folder = None if path is None else usable(path, CheckpointError)
        return save_by_hand(self._trained("save"), folder, optimizer=save_optimizer)

    def load_checkpoint(self, path: str | Path, load_optimizer: bool = True) -> None:
        """Put back the weights of a checkpoint; the next `train` goes on with it where its plan is the same.

        Args:
            path: The checkpoint's folder, or the one that `save_checkpoint` was given, of which the newest is taken.
            load_optimizer: Put the optimizer's state back as well.

        Raises:
            CheckpointError: There is none, it is damaged or of another model, or no model is there to put it into.
        """
        untrained = self._models is None and self.model is not None  # one of the caller's, as it came
        model = self.model if untrained or is_module(self.model) else self._trained("load").model
        place = named_checkpoint(from_here(usable(path, CheckpointError)))
        load_weights(self._session, model, place, optimizer=load_optimizer)
        self._start = Start(place, load_optimizer)

    def _trained(self, verb: str) -> FitSession:
        """Return the fit that the model comes from."""
        if self._session is not None:
            return self._session
        into = "" if verb == "save" else " into"
        raise CheckpointError(f"there is no training state to {verb}{into}: {why_none(len(self.fits))}")
