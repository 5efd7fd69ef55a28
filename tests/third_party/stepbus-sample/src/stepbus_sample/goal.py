"""A plugin that decides: pure functions first, then a class that listens and asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import define
from stepbus import Problem, TrainingState, did_you_mean, hookimpl, setting

if TYPE_CHECKING:
    from stepbus import Session


def reached(value: float, goal: float, greater_is_better: bool) -> bool:
    """Say whether a metric is as good as its goal; NaN never is."""
    return value >= goal if greater_is_better else value <= goal


class StopAtGoal:
    """Stop a fit once a metric has reached its goal."""

    requires_hooks = 1
    asks = ("stop",)  # what it may ask of trainer.control

    @define(frozen=True, kw_only=True)
    class Config:
        """Its settings in YAML."""

        goal: float = setting(meaning="the value to reach, in the metric's own unit")
        metric: str | None = setting(None, "the metric to watch; training.monitor when not given")
        evaluations: int = setting(
            1,
            "evaluations in a row that must reach it",
            check=lambda value: value >= 1,
            expected="a whole number of at least 1",
        )

    def __init__(self, config: Config) -> None:
        self.config = config
        self.in_a_row = 0

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem] | None:
        """Say before the run that nothing will be evaluated, or that the metric will not be computed."""
        here, metric = "plugins.stop_at_goal", self.config.metric or plan.monitor
        if not plan.has_validation:
            return [Problem(here, "expected an evaluation to watch; give data.validation, or switch it off")]
        if plan.metrics.get(metric) is None:
            near = did_you_mean(metric, plan.metrics)
            known = ", ".join(sorted(name for name, direction in plan.metrics.items() if direction is not None))
            words = f"expected a metric that can be better or worse, got {metric!r}{near}; there are {known}"
            return [Problem(f"{here}.metric", words)]
        return None

    @hookimpl
    def on_metrics(self, trainer: Session, state: TrainingState, metrics: dict[str, float]) -> None:
        """Count the evaluations that reach the goal, and ask for the stop."""
        metric = self.config.metric or trainer.monitor
        if not reached(metrics[metric], self.config.goal, bool(trainer.directions[metric])):
            self.in_a_row = 0
            return
        self.in_a_row += 1
        if self.in_a_row == self.config.evaluations:
            trainer.control.request_stop(f"{metric} is {metrics[metric]:.4g}, the goal was {self.config.goal:.4g}")

    def state_dict(self) -> dict[str, Any]:
        """Return the count, which a checkpoint keeps."""
        return {"in_a_row": self.in_a_row}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.in_a_row = saved["in_a_row"]
