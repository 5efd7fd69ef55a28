"""What users hold: a configuration, and the weights between fits; train, evaluate, predict, save, load."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.api.arguments import by_either_name, check_epochs, flag, given_to_trainer, is_section
from stepbus.api.fits import FitModels
from stepbus.api.naming import CheckpointMethods
from stepbus.api.predicting import Models, PredictionMethods
from stepbus.api.showing import ShownTrainer
from stepbus.api.starting import Memories, check_own, defaults_of, model_changes
from stepbus.api.subclassing import HELD, StepMethods, own_steps
from stepbus.base import BadInput, Selected
from stepbus.compute import ModuleForward
from stepbus.fit import FitSession, TextFits, persistence
from stepbus.fit.loaders import LoaderFits, is_loader, is_module
from stepbus.fit.opened import OpenedModel, Predictor, open_model
from stepbus.run import FolderStore, Run, Start
from stepbus.run.opened import OpenedRun

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.fit import FitBuilder
    from stepbus.kernel import FitResult

log = logging.getLogger(__name__)
UNTRAINED = "this trainer has not been trained: call train first, or open a trained model's folder"


class Trainer(ShownTrainer, PredictionMethods, CheckpointMethods, StepMethods):
    """A model to train, any number of times; each `train` is a run with fresh state, plugins and schedule.

    A subclass may write `training_step(self, batch, state)`, `compute_loss_and_gradients(self, batch)` and
    `process_gradients(self, gradients)` anew; whatever else it writes in the hope that a run calls it is refused.

    Args:
        model: What `create_trainer` takes, and so are the others; where a configuration comes first, the model follows.
        config: The configuration.
        plugins: Classes, instances and modules with hooks, beside those that the configuration names.
        callbacks: More of them.
        loss: The loss of a module of the caller's, or else the section `loss`.
        **overrides: Settings by name.

    Attributes:
        config: The configuration of the next `train`.
        model: The model that the next `train` starts from; None where that builds one. A run of several fits leaves it
            as it was: their models are in `fits`.
        result: What the latest `train` returned; None where it failed.
        fits: The trained model of each fit of the latest run; each is a trainer.

    Example:
        >>> trainer = Trainer(config="run.yaml", num_epochs=2)
        >>> trainer.train().steps
        16
        >>> trainer.save_checkpoint("first").name
        'step-00000016'
        >>> trainer.update_config(learning_rate=1e-4, num_epochs=1)  # the next stage, from these weights
        >>> trainer.train().steps
        8
        >>> trainer.load_checkpoint("first")  # and back to those of the first
    """

    _held = HELD | {"_here", "_given", "_made_from", "_models", "_opened", "_session", "_start", "_memories"}

    def __init__(
        self,
        model: Any = None,
        config: Any = None,
        *,
        plugins: Sequence[Any] = (),
        callbacks: Sequence[Any] = (),
        loss: Callable[[Any, Any], Any] | str | Mapping[str, Any] | None = None,
        **overrides: Any,
    ) -> None:
        given = given_to_trainer(model, config, plugins, callbacks, loss, overrides)
        self.loss: Any = None if is_section(loss) else loss
        self._begin(given.config, given.model)

    def __reduce__(self) -> Any:
        raise BadInput(
            f"a {type(self).__name__} cannot be copied or pickled, for it holds a model on the device and compiled "
            "steps; make another one of trainer.config, which can, or write this one with "
            "trainer.save_checkpoint(PATH) and open that with open_trainer(PATH)"
        )

    def _begin(self, config: Config, model: Any = None) -> None:
        """Hold a configuration and a model, and nothing of a run."""
        self.config, self.model = config, model
        if is_module(model):
            ModuleForward(model, self.loss)  # which refuses one without a loss
        self._here = Path.cwd()  # where relative folders start, whatever the working directory becomes
        self.result: FitResult | None = None
        self.fits: Sequence[Trainer] = ()
        self._given = model
        settings = getattr(model, "settings", None)
        # What the model was made from; of a caller's own that may be unknown.
        self._made_from: Selected | None = settings if isinstance(settings, Selected) else self.config.model
        self._models: Models | None = None  # what predicts
        self._opened = False  # whether model and configuration are those of a folder, which keeps none of a training
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
        return Trainer(opened.config, plugins=plugins)._of(opened, run)

    def _of(self, opened: OpenedModel, run: OpenedRun | None = None) -> Trainer:
        self.model = opened.model
        self._models = Models(lambda: iter([opened.predictor]), None if run is None else lambda: run)
        self.fits, self._opened = (self,), True
        return self

    def _like(self, opened: OpenedModel, plugins: Sequence[Any] = ()) -> Trainer:
        """Return a trainer of a model that was opened, of this one's class and with what the user set on it."""
        found = object.__new__(type(self))
        vars(found).update(vars(self))
        found._begin(opened.config.updated({}, plugins=plugins))
        return found._of(opened)

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
        num_epochs: int | None = None,
        *,
        test: Any = None,
        resume: bool | str | Path | None = False,
        allow_changed: bool = False,
        trace_hooks: bool = False,
        train_dataloader: Any = None,
        val_dataloader: Any = None,
    ) -> FitResult:
        """Train on rows given here, or on those that the configuration names, from the present weights.

        Args:
            train: A file, a pandas frame, or None for `data.train`; or an iterable of batches, dictionaries of arrays
                with `labels` among them: a list, an object (perhaps with `set_epoch`), a function (of the epoch).
            validation: The same for `data.validation`; a float is a fraction of the training rows.
            num_epochs: Epochs of this `train`; None takes `training.num_epochs`.
            test: The same for `data.test`: rows to predict, whose labels are not read; `result.predictions["test"]`.
            resume: True to go on with the newest run of the output folder, or the path of a run or a checkpoint.
            allow_changed: Go on although something differs from what the run began with.
            trace_hooks: Print each call of a hook, with plugin and time, on the standard error.
            train_dataloader: Another name of `train`.
            val_dataloader: Another name of `validation`.

        Returns:
            The result: status, metrics, predictions of the validation and the test rows, and where the model lies.

        Raises:
            BadInput: Configuration, data, model or checkpoint cannot be used.

        Example:
            >>> trainer = create_trainer(config="run.yaml")
            >>> result = trainer.train(train, validation=dev, num_epochs=6)
            >>> result.status, result.metrics["eval_accuracy"]
            ('ok', 1.0)
        """
        check_epochs(num_epochs)
        allow_changed, trace_hooks = flag(allow_changed, "allow_changed"), flag(trace_hooks, "trace_hooks")
        train = by_either_name(train, "train", train_dataloader, "train_dataloader")
        validation = by_either_name(validation, "validation", val_dataloader, "val_dataloader")
        config = self.config if num_epochs is None else self.config.updated({"num_epochs": num_epochs})
        steps = own_steps(self, Trainer)
        builder = self._builder(config, train=train, validation=validation, test=test)
        start = None if resume else self._start
        store = FolderStore(config, resume=resume, allow_changed=allow_changed, start=start, here=self._here)
        self._memories = self._memories or Memories(self.plugins)
        self._memories.put_back()
        run = Run(config, builder, store, plugins=[*self.plugins, *steps], trace_hooks=trace_hooks)
        self.result = None
        try:
            self.result = run.execute()
        finally:
            self._take_over(run, config)
        return self.result

    def _builder(self, config: Config, **sources: Any) -> FitBuilder:
        """Return what makes the parts of the next run's fits, which start from the present weights."""
        check_own(self.model, self._session)
        if self._opened and (words := defaults_of(config)):
            log.warning("%s", words)
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
        open_run = partial(OpenedRun, run.directory.absolute(), trust=True, plugins=self.plugins)
        if len(run.fits) != 1:
            paths = {each.fit.name: each.model_path for each in run.results if not each.fit.auxiliary}
            folders = {name: path.absolute() for name, path in paths.items() if path is not None}
            if folders:
                missing = [fit.name for fit in run.fits if fit.name not in folders and not fit.auxiliary]
                # What this run itself wrote is trusted.
                fits = FitModels(folders, self._like, self.plugins, missing=missing, trust=True)
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
            opened = open_model(run.results[0].model_path, trust=True, plugins=self.plugins, name=fit.name)
            predictor, self._session = opened.predictor, None
            if self.model is None:
                self.model = opened.model
            else:
                persistence.load_exported(self.model, opened.folder)
        self._made_from, self._start, self.fits = run.variants.of(fit).config.model, None, (self,)
        self._models = Models(lambda: iter([predictor]), None if self.result is None else open_run)

    def update_config(self, **overrides: Any) -> None:
        """Change settings for the next `train`, which starts from the present weights.

        Until then `evaluate` and `predict` are as the training before left them; `open_trainer(RUN, …)` takes others.

        Args:
            **overrides: Settings by name (`learning_rate=1e-6`), or by section and name with two underscores.
        """
        self.config = self.config.updated(overrides)


BaseTrainer = Trainer  # the name that subclasses of the original's extend
