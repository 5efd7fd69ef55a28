"""What makes the parts of a fit (data, model, optimizer, compiled steps), and what they see of its session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from stepbus.kernel import Session

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.fit.exporting import Origin
    from stepbus.fit.members import Prototype
    from stepbus.kernel import Bus, Checkpointer, Control, Fit, FitData, Lineage, Predictions, ScoredSet, Steps


@frozen(eq=False)
class Exported:
    """What a model's folder holds beside weights.

    Args:
        config: The content of config.json.
        files: Name -> content of further files: those of the tokenizer.
        state: What prediction needs of the data, as JSON values.
    """

    config: Mapping[str, Any]
    files: Mapping[str, bytes]
    state: Mapping[str, Any]


class Fitting(Session, Protocol):
    """A session as the parts of its fit see it; more than hooks do.

    Attributes:
        members: The prototypes of the run's plugins.
        parts: Built components by the name that they have on the bus; the scheduler comes first.
        metrics: What scores predictions, by name.
        best_arrays: The best weights, where they are kept.
        scored: Set name -> its latest predictions and metrics.
        prepared: What it does, with the rows that plugins made of the fit's own.
        averages: Whether others than the present weights are evaluated: averages, see `stepbus.fit.using`.
        cut: Whether a signal ended it, with a checkpoint.
        asked_by: Who asked for a checkpoint last.
        unsaved: Whether it was refused.
        not_of_step: Why the present weights are not those of `state.step`; "" while they are.
        before: Which rows the weights had seen before this fit.
        disk: What keeps it: checkpoints and its model.
        origin: What it has to give back: the model as it was before plugins changed it.
        model: What it trains; at its end the model that is exported.
        steps: What computes with that model.
        traces: How often functions were traced for steps that are gone.
    """

    members: tuple[Prototype, ...]
    parts: dict[str, Any]
    metrics: list[tuple[str, Any]]
    best_arrays: dict[str, Any]
    scored: dict[str, tuple[Predictions, dict[str, float]]]
    prepared: Fit
    averages: bool
    cut: bool
    not_of_step: str
    asked_by: str
    unsaved: bool
    before: Lineage
    disk: Checkpointer
    origin: Origin
    model: Any
    steps: Steps
    traces: int

    @property
    def lineage(self) -> Lineage:
        """Every row that the weights have seen so far."""

    def had_seen(self, lineage: Lineage) -> None:
        """Note what the weights had seen before this fit, besides what is known of it."""

    @property
    def bus(self) -> Bus:
        """Its plugins."""

    @property
    def starts_from(self) -> str:
        """The folder of the model whose weights the fit starts with, where its description names one; else ""."""

    @property
    def builder(self) -> FitBuilder:
        """What made its parts."""


class FitBuilder(Protocol):
    """What makes the parts of each fit of a run.

    Attributes:
        config: The configuration of the fits.
        control: Makes what takes the requests of a fit.
    """

    @property
    def config(self) -> Config: ...
    @property
    def begins_anew(self) -> bool: ...  # whether the first weights are in files, or follow from settings

    @property
    def control(self) -> Callable[[], Control]: ...

    def for_config(self, config: Config) -> FitBuilder:
        """Return what makes the parts of fits of the same run under another configuration."""

    def sets(self) -> dict[str, Any]:
        """Return the rows of the whole run, by set name."""

    def check(self, fits: Sequence[Fit], data: FitData | None = None) -> None:
        """Refuse rows that no fit of the plan could use; asked again once the data of the first fit is there."""

    def notes(self, session: Fitting, fits: Sequence[Fit]) -> list[str]:
        """Return what a user should know before the first fit starts: settings without effect.

        Args:
            session: The first fit, its data prepared.
            fits: The plan.
        """

    def parts(self) -> list[tuple[str, Any]]:
        """Return built components that may listen to hooks, with the name that they have on the bus."""

    def data(self, fit: Fit) -> FitData:
        """Return the data of a fit; no weight is touched."""

    def start(self) -> Lineage:
        """Return which rows the weights have seen that fits start with; nothing is loaded."""

    def metrics(self, data: FitData) -> tuple[list[tuple[str, Any]], dict[str, bool | None]]:
        """Return what scores predictions, by name, and the direction of everything that will be computed."""

    def model(self, session: Fitting) -> Any:
        """Return the model of a fit, weights in place, as plugins change it."""

    def phases(self, session: Fitting) -> Mapping[int, Sequence[str]]:
        """Return the updates before each phase of a fit -> the parameters that it trains."""

    def optimizer(self, session: Fitting) -> Any:
        """Return the optimizer of a fit whose model is there, with its state."""

    def followed(self, session: Fitting) -> Any:
        """Return the optimizer with all that follows its weights, from where these stand."""

    def steps(self, session: Fitting) -> Steps:
        """Return what computes; weights, optimizer and restored values are in place."""

    def scoring(self, session: Fitting) -> Steps:
        """Return what scores and predicts with the model that is exported; it trains nothing."""

    def score(self, session: Fitting, name: str, prefix: str) -> tuple[Predictions, dict[str, float]]:
        """Return predictions and metrics of a named set."""

    def predict(self, session: Fitting, rows: ScoredSet) -> Predictions:
        """Return predictions of a set, whose labels do not matter."""

    def checkpointer(self) -> Checkpointer:
        """Return what keeps a fit."""

    def exported(self, session: Fitting) -> Exported:
        """Return what a model's folder holds beside weights."""
