"""The parts of fits that train on rows of text: tokens, the model of the configuration, optimizer, compiled steps."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stepbus.base import DataError, ModelError
from stepbus.base.trees import plain
from stepbus.compute import ParameterUpdater, Scheduler, Shared, mix
from stepbus.compute.models import (
    LoadReport,
    adopt_head,
    check_head,
    check_models_pooling,
    initialise,
    keys_of,
    rehearse_head,
    tell_classes,
)
from stepbus.fit import Exported, evaluation, run_notes
from stepbus.fit.checkpointing import DiskCheckpoints
from stepbus.fit.computing import (
    followed_optimizer,
    head_forward,
    label_facts,
    new_optimizer,
    new_steps,
    phases_of,
    scoring_steps,
    transformed_model,
)
from stepbus.fit.scoring import chosen_metrics
from stepbus.fit.seen import lineage_at, lineage_of
from stepbus.fit.texts.models import config_model, new_encoder, start_from
from stepbus.kernel import Control
from stepbus.text import TextData, check_labels, check_texts, read_sets
from stepbus.text.rows import ids as row_ids
from stepbus.text.tokens import Limits

if TYPE_CHECKING:
    from stepbus.compute import Forward
    from stepbus.config import Config
    from stepbus.fit import Fitting
    from stepbus.kernel import Checkpointer, Fit, FitData, Lineage, Predictions, ScoredSet, Steps
    from stepbus.text.rows import Rows


class TextFits:
    """Makes the parts of the fits of a run.

    Args:
        config: The configuration.
        model: The model to start from, or None for the one that the configuration describes.
        train: Training rows, or None for those of the configuration.
        validation: Validation rows, a fraction, or None for those of the configuration.
        test: Rows to predict, or None for those of the configuration.
        fixed: Whether labels that ask for other outputs than the model's are refused; else its head starts anew.
        changed: Whether the section `model` is no more what the model was made from.
        trained: Whether the model was trained before, so that nobody needs to hear again how it was loaded.
    """

    control = Control

    def __init__(
        self,
        config: Config,
        model: Any = None,
        train: Any = None,
        validation: Any = None,
        test: Any = None,
        *,
        fixed: bool = True,
        changed: bool = False,
        trained: bool = False,
    ) -> None:
        self.config, self.given, self.fixed, self.changed = config, model, fixed, changed
        self._sources = (train, validation, test)
        self._told: set[str] = set()
        self._shared = Shared()
        self._start: Lineage | None = None
        self._said: set[str] = set()
        if trained and model is not None:
            model.loaded = LoadReport()

    def for_config(self, config: Config) -> TextFits:
        """Return what makes the parts of fits of the same run under another configuration."""
        found = copy.copy(self)
        found.config, found._start = config, None
        if self.given is not None:
            wanted, was = plain(config.model), plain(self.config.model)
            if wanted["pretrained"] != was["pretrained"]:
                raise ModelError("model.pretrained: expected none, because this trainer has weights already; leave it")
            found.changed = self.changed or wanted != was
        return found

    @property
    def begins_anew(self) -> bool:
        """Whether the first weights are in files, or follow from settings; those of a model given in Python do not."""
        return self.given is None

    # -- rows ---------------------------------------------------------------------------------------------------------

    def sets(self) -> dict[str, Rows]:
        """Return the rows of the whole run, by set name."""
        return read_sets(self.config, *self._sources)

    def check(self, fits: Sequence[Fit], data: FitData | None = None) -> None:
        """Refuse rows that no fit of the plan could use: their labels first, and once there is data their texts.

        Args:
            fits: The plan.
            data: That of the first fit.
        """
        if data is None:
            check_labels(self.config, fits)
        elif isinstance(data, TextData):
            check_texts(data.encoder, fits)

    def data(self, fit: Fit) -> TextData:
        """Return the data of a fit; no weight is touched."""
        for rows in fit.sets.values():
            row_ids.check(rows, self.config.data.settings.id)
        known = None if self.given is None or self.changed else self.given.config
        encoder = new_encoder(self.config, known)
        unlabelled = [name for name in fit.sets if not fit.is_labelled(name)]
        data = TextData(self.config, encoder, fit.sets, fit.seed, unlabelled)
        # What cannot serve these labels is refused before any weights are loaded.
        rehearse_head(self.config.components, self.config.model.settings.head, data.task, data.codec.names)
        head_forward(self.config, label_facts(self.config, encoder))
        return data

    def metrics(self, data: FitData) -> tuple[list[tuple[str, Any]], dict[str, bool | None]]:
        """Return what scores predictions, by name, and the direction of everything that will be computed."""
        assert data.task is not None  # the codec has seen the training rows
        return chosen_metrics(self.config, data.task, data.codec)

    def notes(self, session: Fitting, fits: Sequence[Fit]) -> list[str]:
        """Return what was set and has no effect."""
        longest, state = int(text_of(session).tokens["train"].lengths.max()), session.state
        found = run_notes(self.config, list(fits), state.steps_per_epoch, state.total_steps, longest)
        scored = [fit.sets[name] for fit in fits for name in fit.sets if name != "train" and fit.is_labelled(name)]
        weighed = any(rows.weights is not None for rows in scored)
        if weighed and (words := evaluation.unweighed(session.metrics)):
            self._said.add(words)
            found.append(words)
        return found

    def start(self) -> Lineage:
        """Return which rows the weights have seen that fits start with; nothing is loaded."""
        if self._start is None:
            known = self.given is not None
            self._start = lineage_of(self.given) if known else lineage_at(self.config.model.settings.pretrained)
        return self._start

    # -- what computes ------------------------------------------------------------------------------------------------

    def parts(self) -> list[tuple[str, Any]]:
        """Return the scheduler, with its name on the bus."""
        return [(f"scheduler.{self.config.scheduler.name}", self.config.scheduler.build_a(Scheduler))]

    def model(self, session: Fitting) -> Any:
        """Return the model of a fit: the caller's own, or a new one; with the weights that it starts from."""
        data = text_of(session)
        codec, given, seed = data.encoder.codec, self.given, mix(session.fit.seed, 0) % 2**32
        other = given is not None and (given.task, given.outputs) != (codec.task, codec.outputs)
        if other and self.fixed and not self.changed:
            raise DataError(
                f"the model has {given.outputs} {given.task} outputs, and the labels are {codec.task} with "
                f'{codec.outputs}; use create_model(head_type="{codec.task}", num_labels={codec.outputs})'
            )
        if given is not None and not (other or self.changed):
            # Each fold has a copy of its own, with whatever is frozen in it.
            model = given if session.run.alone else copy.deepcopy(given)
        else:
            model = config_model(self.config, codec, seed, given)

        if session.starts_from:
            start_from(model, session.starts_from, seed)

        def renew() -> None:
            spread = float(model.config.get("initializer_range", 0.02))
            initialise(model, seed, spread, model.head_names)

        adopt_head(model, codec, renew)
        tell_classes(model.head, codec.names)
        data.take_limits(Limits.of(model.config))
        model = transformed_model(session, model, kept=model is given)
        shared = self._sharing(session)
        return model if shared is None else shared.model(model)

    def phases(self, session: Fitting) -> Mapping[int, Sequence[str]]:
        """Return the updates before each phase of a fit -> the parameters that it trains."""
        return phases_of(session)

    def _sharing(self, session: Fitting) -> Shared | None:
        """Return what fits share, where there are several."""
        return None if session.run.alone else self._shared

    def optimizer(self, session: Fitting) -> ParameterUpdater:
        """Return the optimizer of a fit, with the settings that plugins give single parameters."""
        for line in [*session.data.notes, *session.model.loaded.lines()]:
            if line not in self._told:  # mostly the same for every fit
                self._told.add(line)
                session.message(line)
        return new_optimizer(self.config, session)

    def followed(self, session: Fitting) -> ParameterUpdater:
        """Return the optimizer with all that follows its weights, from where these stand."""
        return followed_optimizer(session, self._sharing(session))

    def steps(self, session: Fitting) -> Steps:
        """Compile the steps; weights, optimizer state and restored values are in place."""
        check_models_pooling(session.model)
        check_head(session.model)
        return new_steps(self.config, session, self._forward(session), self._sharing(session))

    def scoring(self, session: Fitting) -> Steps:
        """Return what scores and predicts with the model that is exported; it trains nothing."""
        return scoring_steps(self.config, session, self._forward(session))

    def _forward(self, session: Fitting) -> Forward:
        return head_forward(self.config, label_facts(self.config, text_of(session).encoder))

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
        """Return what a model's folder holds beside weights."""
        encoder, model = text_of(session).encoder, session.model
        codec, config = encoder.codec, dict(model.config)
        if codec.task == "regression":
            # Others who open the folder read standardised values; this says how they become the target's own.
            config["stepbus_target"] = {"mean": codec.mean, "sd": codec.sd, "transform": codec.target}
        names = list(codec.columns) if codec.task == "regression" else codec.names
        config |= keys_of(names, own=model.is_familys_own)
        return Exported(config, encoder.tokenizer_files, encoder.state_dict())


def text_of(session: Fitting) -> TextData:
    """Return the data of a fit that trains on rows of text."""
    assert isinstance(session.data, TextData)
    return session.data
