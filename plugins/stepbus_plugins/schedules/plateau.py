"""The schedule that listens: it lowers the base rate when a metric stalls."""

from __future__ import annotations

import math
from typing import Any

from stepbus import Problem, StepbusError, TrainingState, hookimpl
from stepbus_plugins.schedules.curves import Constant
from stepbus_plugins.schedules.settings import PlateauConfig


def _of_training(metric: str) -> bool:
    """Say whether a metric is a mean over an epoch's training rows, for which nothing need be evaluated."""
    return metric.startswith("train_")


class ReduceOnPlateau(Constant):
    """Lowers the base rate each time that the monitored metric has stalled, as PyTorch's ReduceLROnPlateau counts."""

    settings: PlateauConfig
    selects = True  # by the scores of the monitored set

    def __init__(self, settings: PlateauConfig) -> None:
        super().__init__(settings)
        self.watched: str | None = None
        self.best: float | None = None
        self.stalled = 0
        self.resting = 0

    @hookimpl
    def on_fit_start(self, trainer: Any, state: TrainingState) -> None:
        """Forget what a resume makes incomparable: another metric was watched, or the fit forgot its best."""
        monitor = self.settings.monitor or trainer.monitor
        forgotten = state.best is None and monitor == trainer.monitor
        if self.watched is not None and (self.watched != monitor or forgotten):
            self.best, self.stalled = None, 0

    @hookimpl
    def on_epoch_end(self, trainer: Any, state: TrainingState) -> None:
        """Count the epochs where the training loss is watched and nothing is evaluated."""
        watched, rows = self.settings.monitor or "", trainer.fit.monitored is not None
        counted_already = bool(state.history) and state.history[-1]["step"] == state.step
        if _of_training(watched) and not counted_already and not (rows and trainer.settings.eval_strategy != "no"):
            self.on_metrics(trainer, state, state.metrics)

    @hookimpl
    def on_metrics(self, trainer: Any, state: TrainingState, metrics: dict[str, float]) -> None:
        """Count an evaluation, and lower the base rate when patience is over."""
        settings, monitor = self.settings, self.settings.monitor or trainer.monitor
        direction = trainer.directions.get(monitor)
        if monitor not in metrics or direction is None:
            raise StepbusError(
                f"reduce_on_plateau watches {monitor!r}, but the evaluation at step {state.step} gave "
                f"{', '.join(sorted(metrics)) or 'no metric'}; set scheduler.monitor to one of them"
            )
        self.watched = monitor
        if self.improves(float(metrics[monitor]), direction):
            self.best, self.stalled = float(metrics[monitor]), 0
        else:
            self.stalled += 1
        if self.resting:
            self.resting, self.stalled = self.resting - 1, 0
        if self.stalled <= settings.patience:
            return
        before = trainer.optimizer.learning_rate
        after = max(before * settings.factor, min(settings.min_lr, before))
        self.resting, self.stalled = settings.cooldown, 0
        if after < before:
            trainer.optimizer.learning_rate = after
            trainer.message(
                f"reduce_on_plateau: base learning rate {before:.3g} -> {after:.3g} at step {state.step}, "
                f"{monitor} has stalled"
            )

    def improves(self, value: float, greater_is_better: bool) -> bool:
        """Say whether a metric is better than the best so far by more than the threshold; NaN never is."""
        if math.isnan(value):
            return False
        if self.best is None:
            return True
        margin = self.settings.threshold * (abs(self.best) if self.settings.threshold_mode == "rel" else 1.0)
        return value > self.best + margin if greater_is_better else value < self.best - margin

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and the counts, so that a resumed fit goes on counting."""
        return {"watched": self.watched, "best": self.best, "stalled": self.stalled, "resting": self.resting}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.watched = saved.get("watched")
        self.best, self.stalled, self.resting = saved["best"], saved["stalled"], saved["resting"]


def plateau_problems(settings: PlateauConfig, plan: Any) -> list[Problem]:
    """Return why a plateau could not be seen in this plan, if so."""
    monitor, here = settings.monitor or plan.monitor, "scheduler.monitor" if settings.monitor else "training.monitor"
    by_epochs = _of_training(monitor) and plan.steps_per_epoch <= plan.total_steps  # some epoch comes to its end
    if not plan.has_validation and not by_epochs:
        words = f"expected an evaluation to watch, but {plan.unevaluated}, "
        return [Problem("scheduler", f"{words}or take another schedule than reduce_on_plateau")]
    if problem := plan.unwatchable(monitor, here):
        return [problem]
    if plan.metrics[monitor] is None:
        words = "expected a metric that declares whether greater is better"
        return [Problem("scheduler.monitor", f"{words}, got {monitor!r}, which does not")]
    return []
