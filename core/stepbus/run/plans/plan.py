"""The plan of a run, as `validate_plan` gets it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import field, frozen

from stepbus.base import Problem, did_you_mean, listed
from stepbus.base.guards import as_read_only
from stepbus.config import check_schedule
from stepbus.fit import by_training_alone, unevaluated

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.fit import FitSession
    from stepbus.kernel import Fit


@frozen(eq=False)
class Plan:
    """What is going to happen, known before weights are loaded.

    Args:
        config: The configuration.
        fits: The fits.
        task: binary, multiclass, multilabel or regression.
        metrics: Every metric that will be computed -> whether greater is better (None: it has no direction).
        monitor: The metric that says which evaluation is the best.
        total_steps: Updates of the first fit.
        rows: Set name -> rows of the first fit.
        has_validation: Whether anything is evaluated during training.
        unevaluated: Why nothing is, and what to do about it; "" where something is.
        steps_per_epoch: Updates of an epoch of the first fit; 0 where nobody can count them.
        classes: The classes or labels; None of a regression, and where labels came as numbers.

    Example:
        >>> class Looks(Callback):
        ...     @hookimpl
        ...     def validate_plan(self, plan):  # a Plan
        ...         print(plan.task, plan.total_steps, plan.monitor, plan.rows)
        >>> _ = create_trainer(config="run.yaml", plugins=[Looks()], num_epochs=1).train()
        binary 8 eval_loss {'train': 64, 'validation': 16}
    """

    config: Config
    fits: list[Fit] = field(converter=as_read_only)
    task: str | None
    metrics: dict[str, bool | None] = field(converter=as_read_only)
    monitor: str
    total_steps: int
    rows: dict[str, int] = field(converter=as_read_only)
    has_validation: bool
    unevaluated: str = "eval_strategy is no or there are no validation rows; give data.validation or a split"
    steps_per_epoch: int = 0
    classes: Sequence[str] | None = None

    def unknown_metric(self, name: str, path: str) -> Problem:
        """Return what is wrong with a metric that is watched and never computed.

        Args:
            name: What is watched.
            path: The setting that says so; those who find the same there say it once.
        """
        near = did_you_mean(name, self.metrics)
        if meant := [each for each in sorted(self.metrics) if each.endswith(f"_{name}")]:  # loss: of which rows?
            near = f" (did you mean {listed([*map(repr, meant)], 'or')}?)"
        expected = f"expected a metric that this run computes, got {name!r}{near}"
        part = "; a part of the loss is told by training alone: training.greater_is_better says its direction"
        more = part if name.startswith("train_") else ""
        return Problem(path, f"{expected}; computed are {', '.join(sorted(self.metrics))}{more}")

    def unwatchable(self, name: str, path: str) -> Problem | None:
        """Return what is wrong with a metric that decides: it is never computed, or its values cannot be compared.

        Args:
            name: What is watched.
            path: The setting that says so.
        """
        if name not in self.metrics:
            return self.unknown_metric(name, path)
        if not name.startswith("train_") or not self.has_validation:
            return None
        training, epoch = self.config.training, self.steps_per_epoch
        every = training.eval_steps if training.eval_strategy == "steps" else None
        if every is None or (epoch and every % epoch == 0):
            return None
        expected = f"expected a metric of evaluated rows where eval_strategy is steps, got {name!r}"
        why = "within an epoch it is the mean of the rows so far, so that its values cannot be compared"
        return Problem(path, f"{expected}: {why}; watch eval_loss, or set eval_strategy: epoch")


def make_plan(session: FitSession, fits: list[Fit]) -> Plan:
    """Return what is going to happen.

    Args:
        session: The first fit, its data prepared.
        fits: All of them.
    """
    state, training, codec = session.state, session.config.training, session.data.codec
    monitored = session.fit.monitored is not None
    metrics = session.directions
    if by_training_alone(training, monitored):
        metrics = {name: greater for name, greater in metrics.items() if name.startswith("train_")}
    why = unevaluated(training, monitored, state.steps_per_epoch, state.total_steps)
    return Plan(
        config=session.config,
        fits=fits,
        task=session.data.task,
        metrics=metrics,
        monitor=session.monitor,
        total_steps=state.total_steps,
        rows=dict(session.data.rows),
        has_validation=not why,
        unevaluated=why,
        steps_per_epoch=state.steps_per_epoch,
        classes=None if codec is None or codec.task == "regression" else tuple(codec.names),
    )


def plan_problems(plan: Plan) -> list[Problem]:
    """Return what core itself finds wrong with a plan."""
    problems: list[Problem] = []
    training = plan.config.training
    problems += check_schedule(plan.config, plan.total_steps)
    if training.exact:
        from stepbus.device import conditions

        problems += [Problem("training.exact", reason) for reason in conditions.unpromised()]
    watched = plan.fits[0].monitored is not None or by_training_alone(training, False)
    if watched and (problem := plan.unwatchable(plan.monitor, "training.monitor")) is not None:
        problems.append(problem)
    elif watched and "training.monitor" in plan.config.marks and plan.metrics[plan.monitor] is None:
        words = f"expected a metric that declares whether greater is better, got {plan.monitor!r}, which does not"
        problems.append(Problem("training.monitor", f"{words}; set training.greater_is_better"))
    if training.eval_strategy == "steps" and plan.fits[0].monitored is None:
        problems.append(Problem("training.eval_strategy", "expected validation rows to evaluate, got none"))
    return problems
