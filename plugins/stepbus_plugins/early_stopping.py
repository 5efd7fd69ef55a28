"""Early stopping: end a fit whose monitored metric has stalled, and ask for the best weights."""

from __future__ import annotations

import math
from typing import Any

from attrs import define

from stepbus import Problem, StepbusError, TrainingState, counted, hookimpl, setting


def improves(value: float, best: float | None, min_delta: float, greater_is_better: bool) -> bool:
    """Say whether a metric is better than the best so far by more than `min_delta`; NaN never is."""
    if math.isnan(value):
        return False
    if best is None:
        return True
    return value > best + min_delta if greater_is_better else value < best - min_delta


def _of_training(metric: str) -> bool:
    """Say whether a metric is a mean over an epoch's training rows, for which nothing need be evaluated."""
    return metric.startswith("train_")


class EarlyStopping:
    """Stop a fit when its monitored metric has not improved for some evaluations, and restore the best weights."""

    asks: tuple[str, ...] = ("stop", "best")

    @define(frozen=True, kw_only=True)
    class Config:
        patience: int = setting(
            3,
            "evaluations in a row without improvement before the stop",
            check=lambda value: value >= 1,
            expected="a whole number of at least 1",
        )
        min_delta: float = setting(
            0.0,
            "a smaller change than this is no improvement, in the metric's own unit",
            check=lambda value: value >= 0 and math.isfinite(value),
            expected="a number of at least 0",
        )
        monitor: str | None = setting(None, "the metric to watch; training.monitor when not given")
        restore_best: bool = setting(True, "put the weights of the best evaluation back before the final one")

    def __init__(self, config: Config) -> None:
        self.config = config
        if not config.restore_best:
            self.asks = ("stop",)  # so nobody keeps them
        self.watched: str | None = None
        self.best: float | None = None
        self.best_step = 0
        self.stalled = 0
        self.asked_best = False
        self.asked_stop = False

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem] | None:
        """Find a metric that will never be computed, and a restore that the engine cannot do."""
        monitor = self.config.monitor or plan.monitor
        by_epochs = _of_training(monitor) and plan.steps_per_epoch <= plan.total_steps  # some epoch comes to its end
        if not plan.has_validation and not by_epochs:
            return [
                Problem(
                    ".",
                    f"expected an evaluation to watch, but {plan.unevaluated}, or switch early_stopping off",
                )
            ]
        if problem := plan.unwatchable(monitor, ".monitor" if self.config.monitor else "training.monitor"):
            return [problem]
        if plan.metrics[monitor] is None:
            return [
                Problem(
                    ".monitor",
                    f"expected a metric that declares whether greater is better, got {monitor!r}, which does not",
                )
            ]
        if self.config.restore_best and monitor != plan.monitor:
            return [
                Problem(
                    ".restore_best",
                    f"the best weights are kept by training.monitor ({plan.monitor}), but this watches {monitor}; "
                    "let both name one metric, or set restore_best: false",
                )
            ]
        return None

    @hookimpl
    def on_fit_start(self, trainer: Any, state: TrainingState) -> None:
        """Forget what a resume makes incomparable: another metric was watched, or the fit forgot its best."""
        monitor = self.config.monitor or trainer.monitor
        forgotten = state.best is None and monitor == trainer.monitor
        if self.watched is not None and (self.watched != monitor or forgotten):
            self.best, self.best_step, self.stalled = None, 0, 0

    @hookimpl
    def on_epoch_end(self, trainer: Any, state: TrainingState) -> None:
        """Count the epochs where the training loss is watched and nothing is evaluated."""
        watched, rows = self.config.monitor or "", trainer.fit.monitored is not None
        counted_already = bool(state.history) and state.history[-1]["step"] == state.step
        if _of_training(watched) and not counted_already and not (rows and trainer.settings.eval_strategy != "no"):
            self.on_metrics(trainer, state, state.metrics)

    @hookimpl
    def on_metrics(self, trainer: Any, state: TrainingState, metrics: dict[str, float]) -> None:
        """Count the evaluations without improvement, and ask for the stop when patience is over."""
        monitor = self.config.monitor or trainer.monitor
        direction = trainer.directions.get(monitor)
        if monitor not in metrics or direction is None:
            raise StepbusError(
                f"early_stopping watches {monitor!r}, but the evaluation at step {state.step} gave "
                f"{', '.join(sorted(metrics)) or 'no metric'}; set plugins.early_stopping.monitor to one of them"
            )
        self.watched = monitor
        if self.config.restore_best and not self.asked_best:
            self.asked_best = True
            trainer.control.request_best(f"keeps the weights with the best {monitor}")
        if improves(float(metrics[monitor]), self.best, self.config.min_delta, direction):
            self.best, self.best_step, self.stalled = float(metrics[monitor]), state.step, 0
            return
        self.stalled += 1
        if self.stalled >= self.config.patience and not self.asked_stop:
            self.asked_stop = True
            times = counted(self.stalled, "evaluation")
            since = "it was never a number" if self.best is None else f"best {self.best:.6g} at step {self.best_step}"
            trainer.control.request_stop(f"{monitor} has not improved for {times} ({since})")

    def state_dict(self) -> dict[str, Any]:
        """Return the count and the best value, so that a resumed fit goes on counting."""
        return {
            "watched": self.watched,
            "best": self.best,
            "best_step": self.best_step,
            "stalled": self.stalled,
            "asked_best": self.asked_best,
            "asked_stop": self.asked_stop,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.watched = saved.get("watched")
        self.best = saved["best"]
        self.best_step = saved["best_step"]
        self.stalled = saved["stalled"]
        self.asked_best = saved["asked_best"]
        self.asked_stop = saved["asked_stop"]
