"""The parts of a fit whose batches come from loaders: the caller's model, optimizer, compiled steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stepbus.base import ConfigError, DataError, ModelError, Problem, listed
from stepbus.compute import CompiledSteps, ModuleForward, ParameterUpdater, Scheduler, StepParts
from stepbus.compute.models import Classifier, tell_classes
from stepbus.device import choice
from stepbus.fit import (
    Exported,
    evaluation,
    loop_notes,
    persistence,
)
from stepbus.fit.checkpointing import DiskCheckpoints
from stepbus.fit.computing import (
    followed_optimizer,
    head_forward,
    model_facts,
    new_optimizer,
    new_steps,
    phases_of,
    scoring_steps,
    transformed_model,
)
from stepbus.fit.loaders.data import LoaderData
from stepbus.fit.loaders.given import code_of, is_written, makers_of_fits, only_once, words_of
from stepbus.fit.loaders.index_checks import Classes, token_check
from stepbus.fit.loaders.shared import check_apart
from stepbus.fit.loaders.sources import WANTED, Loader, is_loader
from stepbus.fit.scoring import chosen_metrics
from stepbus.fit.seen import lineage_of
from stepbus.kernel import Control
from stepbus.text.rows import a_thing

if TYPE_CHECKING:
    from stepbus.compute import Forward
    from stepbus.config import Config
    from stepbus.fit import Fitting
    from stepbus.fit.loaders.sets import Check
    from stepbus.kernel import Checkpointer, Fit, FitData, Lineage, Predictions, ScoredSet, Steps


def is_module(model: Any) -> bool:
    """Say whether a model is a module of the caller's own, and none of ours."""
    import mlx.nn as nn

    return isinstance(model, nn.Module) and not isinstance(model, Classifier)


class LoaderFits:
    """Makes the parts of a fit.

    Args:
        config: The configuration.
        model: The caller's module, or a classifier of ours.
        train: The training loader.
        validation: The loader of the set that is scored, if there is one.
        loss: The loss of a module; see `ModuleForward`.
        test: The loader of rows to predict, if there is one.
    """

    control = Control
    begins_anew = False  # the first weights are those of the caller's module

    def __init__(
        self,
        config: Config,
        model: Any,
        train: Any = None,
        validation: Any = None,
        loss: Callable[[Any, Any], Any] | None = None,
        *,
        test: Any = None,
    ) -> None:
        self.config, self.given, self.loss = config, model, loss
        self._sources = {"train": train, "validation": validation, "test": test}
        self._said: set[str] = set()
        self._classes = Classes.of_loss(model, loss, self.task)

    def for_config(self, config: Config) -> LoaderFits:
        """Return what makes the parts of a fit of the same run under another configuration."""
        found = copy.copy(self)
        found.config = config
        return found

    # -- batches ------------------------------------------------------------------------------------------------------

    @property
    def task(self) -> str | None:
        """What the labels are: what `data.task` says, or what a classifier is for."""
        told: str | None = self.config.data.settings.task
        if not isinstance(self.given, Classifier):
            return told
        if told not in (None, self.given.task):
            raise DataError(f"data.task: expected {self.given.task}, as the model has it, got {told}; leave it out")
        task: str = self.given.task
        return task

    def sets(self) -> dict[str, Loader]:
        """Return the loaders by set name."""
        settings, found, problems = self.config.data.settings, {}, list[Problem]()
        if self.given is None:
            raise DataError(
                "model: a loader gives no labels to build a model for; hand one over: create_trainer(model, …), with "
                "create_model(…) or any mlx.nn.Module"
            )
        written = {"train": settings.train, "validation": settings.validation, "test": settings.test}
        if not isinstance(self.given, Classifier) and self.config.loss.name != "auto":
            words = f"expected auto, because the model is a module of yours, got {self.config.loss.name}"
            mend = "its loss is given beside it: create_trainer(model, loss=nn.losses.cross_entropy)"
            problems.append(self.config.locate(Problem("loss.type", f"{words}; {mend}")))
        for name, source in self._sources.items():
            source = written[name] if source is None else source
            if source is None and name != "train":
                continue
            if not is_loader(source):
                raise DataError(self._no_loader(name, source))
            found[name] = Loader(source, name)
            problems += only_once(found[name], self.config)
            if name != "train":
                check_apart(found["train"].source, source, name)
        problems += makers_of_fits(self.config)
        if problems:
            raise ConfigError(problems)
        return found

    def _no_loader(self, name: str, source: Any) -> str:
        """Return what is wrong with something that gives no batches."""
        place = f"data.{name}" if self._sources[name] is None and source is not None else name
        if isinstance(source, float | int) and not isinstance(source, bool):
            return (
                f"{place}: expected a loader of its own, because batches are not split, got {source}; hand over two "
                "loaders: trainer.train(loader, validation_loader)"
            )
        why = "the model is a module of yours" if is_module(self.given) else "the other set is a loader"
        empty = isinstance(source, list | tuple) and not source
        got = "none" if source is None else f"an empty {type(source).__name__}" if empty else a_thing(source)
        got = repr(source) if isinstance(source, str) else got
        return f"{place}: expected {WANTED}, because {why}, got {got}; hand it over: trainer.train(loader)"

    def check(self, fits: Sequence[Fit], data: FitData | None = None) -> None:
        """Refuse a plan of several fits: they would train one and the same model, on batches that are not dealt out."""
        if len(fits) > 1:
            raise DataError(
                f"plugins: expected one fit, because model and loader are objects of yours, got {len(fits)}: "
                f"{listed(fit.name for fit in fits)}; switch off the plugin that makes several"
            )

    def data(self, fit: Fit) -> LoaderData:
        """Return the data of a fit."""
        if isinstance(self.given, Classifier):
            self.forward()  # a loss that cannot serve its labels is refused now
        return self._data(fit.sets, [name for name in fit.sets if not fit.is_labelled(name)])

    def _data(self, loaders: Mapping[str, Loader], unlabelled: Sequence[str] = ()) -> LoaderData:
        facts = {name: digest for name, digest in self._facts().items() if digest}
        check: Check | None = self._classes.check if self._classes is not None else None
        if isinstance(self.given, Classifier):
            check = token_check(self.given)
        return LoaderData(self.config, loaders, self.task, facts, check, unlabelled)

    def _facts(self) -> dict[str, str]:
        """Return digests of the code of the module and of the loss, as far as it is the caller's."""
        if isinstance(self.given, Classifier):
            return {}
        return {"model": code_of(self.given), "loss": words_of(self.loss)}

    def metrics(self, data: FitData) -> tuple[list[tuple[str, Any]], dict[str, bool | None]]:
        """Return what scores predictions, by name, and the direction of everything that will be computed."""
        return chosen_metrics(self.config, data.task, data.codec)

    def notes(self, session: Fitting, fits: Sequence[Fit]) -> list[str]:
        """Return what was set and has no effect."""
        config, state = self.config, session.state
        found = loop_notes(config, fits[0].monitored is not None, state.steps_per_epoch, state.total_steps)
        if not state.steps_per_epoch and is_written(config, "training.num_epochs"):
            words = "it has no effect, because the training loader has no len(): training.max_steps ends the fit"
            found.append(("training.num_epochs", words))
        sections = ("data",) if isinstance(self.given, Classifier) else ("data", "model")
        for path in config.marks:
            section, _, name = path.partition(".")
            if (
                section not in sections
                or not name
                or "." in name
                or "[" in name
                or path == "data.task"
                or name == "type"
            ):
                continue
            if is_written(config, path):
                made = "the loader makes the batches" if section == "data" else "the model is a module of yours"
                own = "; give metrics theirs: {type: accuracy, threshold: …}" if path == "data.threshold" else ""
                found.append((path, f"it has no effect, because {made}{own}"))
        return [
            *session.data.notes,
            *config.notes,
            *(str(config.locate(Problem(path, message))) for path, message in found),
        ]

    def start(self) -> Lineage:
        """Return which rows the weights of the caller's model have seen."""
        return lineage_of(self.given)

    # -- what computes ------------------------------------------------------------------------------------------------

    def parts(self) -> list[tuple[str, Any]]:
        """Return the scheduler, with its name on the bus."""
        return [(f"scheduler.{self.config.scheduler.name}", self.config.scheduler.build_a(Scheduler))]

    def model(self, session: Fitting) -> Any:
        """Return the caller's model, with the weights that its fit starts from."""
        from mlx.utils import tree_flatten

        if session.starts_from:
            persistence.load_exported(self.given, Path(session.starts_from))
        if not tree_flatten(self.given.trainable_parameters()):
            raise ModelError(f"model: expected parameters to train, got a {type(self.given).__name__} without any")
        return transformed_model(session, self.given, kept=True)

    def phases(self, session: Fitting) -> Mapping[int, Sequence[str]]:
        """Return the updates before each phase of a fit -> the parameters that it trains."""
        return phases_of(session)

    def optimizer(self, session: Fitting) -> ParameterUpdater:
        """Return the optimizer of a fit, with the settings that plugins give single parameters."""
        return new_optimizer(self.config, session)

    def followed(self, session: Fitting) -> ParameterUpdater:
        """Return the optimizer with all that follows its weights, from where these stand."""
        return followed_optimizer(session)

    def steps(self, session: Fitting) -> Steps:
        """Compile the steps; weights, optimizer state and restored values are in place."""
        return new_steps(self.config, session, self._forward(session))

    def scoring(self, session: Fitting) -> Steps:
        """Return what scores and predicts with the model that is exported; it trains nothing."""
        return scoring_steps(self.config, session, self._forward(session))

    def _forward(self, session: Fitting) -> Forward:
        assert isinstance(session.data, LoaderData)
        train = session.data.readers["train"]
        return self.forward(lambda text: session.message(text, "warning"), lambda: train.weighted)

    def forward(
        self, say: Callable[[str], None] = lambda text: None, weighted: Callable[[], bool] = lambda: False
    ) -> Forward:
        """Return how the model is called, and what its answer means.

        Args:
            say: Told once what somebody should know.
            weighted: Whether rows came with weights.
        """
        if isinstance(self.given, Classifier):
            facts = model_facts(self.config, self.given)
            tell_classes(self.given.head, facts.classes)
            return head_forward(self.config, facts)
        precision = choice.effective_precision(self.config.training.precision)
        learn = self._classes.learn if self._classes is not None else None
        return ModuleForward(self.given, self.loss, self.task, precision, say=say, weighted=weighted, learn=learn)

    def prediction(self) -> tuple[LoaderData, CompiledSteps, list[tuple[str, Any]]]:
        """Return what predicts with the model as it is: what reads batches, what computes, and the metrics."""
        choice.choose(self.config.environment.device)
        data, unused = self._data({}), ParameterUpdater(self.config.optimizer.build(), 0.0)
        steps = CompiledSteps(self.given, unused, StepParts(), rate=lambda step: 0.0, seed=0, forward=self.forward())
        return data, steps, self.metrics(data)[0]

    # -- what lasts ---------------------------------------------------------------------------------------------------

    def score(self, session: Fitting, name: str, prefix: str) -> tuple[Predictions, dict[str, float]]:
        """Return predictions and metrics of a named set."""
        return evaluation.score_set(session, name, prefix, self._said)

    def predict(self, session: Fitting, rows: ScoredSet) -> Predictions:
        """Return predictions of a set, whose labels do not matter."""
        return evaluation.predicted(session, rows, self._said)

    def checkpointer(self) -> Checkpointer:
        """Return what keeps a fit: checkpoints and model folders on disk."""
        return DiskCheckpoints()

    def exported(self, session: Fitting) -> Exported:
        """Return what a model's folder holds beside weights: who made the model, because nothing here can."""
        kind = type(session.model)
        made = {"module": f"{kind.__module__}.{kind.__qualname__}"}
        own = (
            dict(session.model.config) if isinstance(session.model, Classifier) else {"architectures": [kind.__name__]}
        )
        return Exported(own, {}, made)
