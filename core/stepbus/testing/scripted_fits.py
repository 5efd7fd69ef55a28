"""The parts of a scripted fit: model, steps and snapshots that need no device and no disk."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.fit import Exported
from stepbus.fit.computing import phases_of
from stepbus.kernel import FitData, Lineage, Predictions, StepResult
from stepbus.testing.script import (
    Heard,
    ListeningControl,
    Script,
    ScriptedRows,
    at,
)
from stepbus.testing.scripted import (
    ScriptedModel,
    ScriptedOptimizer,
    check_arrays,
    flat,
    uncomputed,
)
from stepbus.testing.scripted_checkpoints import ScriptedCheckpoints
from stepbus.testing.scripted_data import ScriptedData, ScriptedSet

if TYPE_CHECKING:
    from collections.abc import Callable

    from stepbus.config import Config
    from stepbus.fit import Fitting
    from stepbus.kernel import Control, Fit, ScoredSet

TOKENS_IN_A_ROW = 8


class ScriptedSteps:
    """In place of the compiled steps: says what the script says, and writes down what was launched and read.

    Args:
        session: The fit.
        script: What to say.
        heard: What is written down.
    """

    traces = 0

    def __init__(self, session: Fitting, script: Script, heard: Heard) -> None:
        self.session, self.script, self.heard = session, script, heard

    def launch(self, window: int, number: int) -> tuple[int, float]:
        """Begin an update; its learning rate is the one of this moment."""
        self.heard.moves.append(f"launch {number}")
        return number, float(self.session.optimizer.learning_rate)

    def read(self, ticket: tuple[int, float]) -> StepResult:
        """Return the numbers of an update that was launched."""
        number, learning_rate = ticket
        session, script = self.session, self.script
        self.heard.moves.append(f"read {number}")
        session.model.step = number
        if script.interrupts(session.fit.name, number):
            self.heard.interrupt()
        training = session.config.training
        rows = session.config.data.settings.batch_size * training.gradient_accumulation_steps
        return StepResult(
            loss=script.loss(number),
            weight=float(rows),
            sequences=rows,
            tokens=rows * TOKENS_IN_A_ROW,
            learning_rate=learning_rate,
            scalars=dict(at(script.scalars, number - 1)) if script.scalars else {},
            seconds=script.seconds,
        )

    def evaluate(self, batch: Any) -> tuple[float, Any, Any]:
        """Say nothing: whole sets are scripted."""
        return 0.0, np.zeros((0, 1)), np.zeros((0, 1))

    def diagnose(self) -> None:
        """Say nothing: what would be computed once more is scripted."""

    def may_hold_masks(self) -> bool:
        """Leave it to `spoiled`."""
        return True

    def spoiled(self, averages: Any = None) -> None:
        """Say nothing: there are no weights."""

    def restart_clock(self) -> None:
        """Wall time is scripted."""


class ScriptedFits:
    """Makes the parts of scripted fits.

    Args:
        config: The configuration.
        script: What the steps say.
        heard: What is written down.
        steps_per_epoch: Updates of one epoch.
        sets: Row sets by name; None makes rows that only have ids.
        directions: Metric -> whether greater is better; None tells it by the names.
        parts: Name on the bus -> what builds a component with hooks.
    """

    begins_anew = False  # so that checkpoints at the start are heard of

    def __init__(
        self,
        config: Config,
        script: Script,
        heard: Heard,
        steps_per_epoch: int,
        sets: Mapping[str, Any] | None = None,
        directions: Mapping[str, bool | None] | None = None,
        parts: Mapping[str, Callable[[], Any]] | None = None,
    ) -> None:
        self.config, self.script, self.heard, self.steps_per_epoch = config, script, heard, steps_per_epoch
        self.given_sets, self.given_directions, self.given_parts = sets, directions, dict(parts or {})

    def control(self) -> Control:
        """Return what takes the requests of a fit, and writes them down."""
        return ListeningControl(self.heard.asked)

    def for_config(self, config: Config) -> ScriptedFits:
        """Return what makes the parts of scripted fits under another configuration."""
        found = copy.copy(self)
        found.config = config
        return found

    def sets(self) -> dict[str, Any]:
        """Return the rows; validation rows are there where evaluations are scripted."""
        if self.given_sets is not None:
            return dict(self.given_sets)
        rows = self.steps_per_epoch * self.config.data.settings.batch_size
        sets = {"train": ScriptedRows("train", rows)}
        return sets | ({"validation": ScriptedRows("validation", 6)} if self.script.metrics else {})

    def check(self, fits: Sequence[Fit], data: FitData | None = None) -> None:
        """Refuse nothing."""

    def notes(self, session: Fitting, fits: Sequence[Fit]) -> list[str]:
        """Return nothing."""
        return []

    def parts(self) -> list[tuple[str, Any]]:
        """Return the components with hooks."""
        return [(name, build()) for name, build in self.given_parts.items()]

    def data(self, fit: Fit) -> ScriptedData:
        """Return the data of a fit."""
        return ScriptedData(self.config, fit, self.steps_per_epoch)

    def metrics(self, data: FitData) -> tuple[list[tuple[str, Any]], dict[str, bool | None]]:
        """Return the share of rows that are predicted rightly, and the directions of what is scripted."""
        names = {"eval_loss": None} | {name: None for metrics in self.script.metrics for name in metrics}
        directions = dict(self.given_directions or {name: not name.endswith("loss") for name in names})
        directions.setdefault("train_loss", False)
        if self.config.training.greater_is_better is not None:
            directions[self.config.training.monitor] = self.config.training.greater_is_better
        return [("accuracy", _accuracy)], directions

    def model(self, session: Fitting) -> ScriptedModel:
        """Return a new model; what plugins would make of it is asked for, and left."""
        model = ScriptedModel(session.starts_from)
        session.bus.thread("transform_model", trainer=session, model=model)
        return model

    def phases(self, session: Fitting) -> Mapping[int, Sequence[str]]:
        """Return the phases that plugins ask for, with the parameters that each would train."""
        return phases_of(session, [name for name, _ in flat(session.model.parameters())])

    def start(self) -> Lineage:
        """Return nothing: the weights of each fit are new."""
        return Lineage()

    def optimizer(self, session: Fitting) -> ScriptedOptimizer:
        """Return what has a learning rate; what plugins give single parameters is looked at, and has no effect."""
        given = session.bus.in_order("parameter_groups", trainer=session, model=session.model)
        rate = self.config.optimizer.settings.learning_rate
        return ScriptedOptimizer(rate, given, session.model.parameters())

    def followed(self, session: Fitting) -> ScriptedOptimizer:
        """Return the optimizer; what follows its weights is asked for, and follows nothing."""
        for member in session.bus.members_with("after_update"):
            for given in session.bus.asking(member.name, "after_update")(trainer=session):
                check_arrays(member.label, given)
        found: ScriptedOptimizer = session.optimizer
        return found

    def steps(self, session: Fitting) -> ScriptedSteps:
        """Return what says what the script says; what plugins put into a step is asked for, and not called."""
        bus, gradient = session.bus, "value_and_grad(parameters, batch)"
        bus.thread("wrap_loss", trainer=session, loss=uncomputed("loss(forward, batch)"))
        bus.thread("wrap_gradient", trainer=session, value_and_grad=uncomputed(gradient))
        bus.in_order("transform_gradients", trainer=session)
        _ = bus.hook.training_step(trainer=session)
        return ScriptedSteps(session, self.script, self.heard)

    def scoring(self, session: Fitting) -> ScriptedSteps:
        """Return what says what the script says."""
        return ScriptedSteps(session, self.script, self.heard)

    def score(self, session: Fitting, name: str, prefix: str) -> tuple[Predictions, dict[str, float]]:
        """Return predictions and what the script says of them."""
        # Weights that were scored before get the same score again, as after the best ones were put back.
        history = session.state.history
        known = [record for record in history if record["step"] == session.model.step]
        found = known[-1] if known else at(self.script.metrics, len(history))
        metrics = {key: float(value) for key, value in found.items() if key.startswith("eval_")}
        said = session.data.sets[name]
        named = {f"{prefix}_{key.removeprefix('eval_')}": value for key, value in metrics.items()}
        assert isinstance(said, ScriptedSet)
        return said.said, named

    def predict(self, session: Fitting, rows: ScoredSet) -> Predictions:
        """Return predictions of a set, whose labels do not matter."""
        assert isinstance(rows, ScriptedSet)
        return rows.said

    def checkpointer(self) -> ScriptedCheckpoints:
        """Return what keeps snapshots in memory."""
        return ScriptedCheckpoints(self.heard)

    def exported(self, session: Fitting) -> Exported:
        """Return nothing: no model is written."""
        return Exported({}, {}, {})


def _accuracy(labels: Any, predictions: Any) -> dict[str, float]:
    """Return the share of rows that are predicted rightly; nothing for values."""
    return {"accuracy": float((predictions.argmax(-1) == labels).mean())} if predictions.ndim > labels.ndim else {}
