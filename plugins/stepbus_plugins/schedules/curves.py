"""Schedules that are a function of the step alone.

Linear, cosine and polynomial give the rates of `get_linear_`, `get_cosine_` and `get_polynomial_decay_schedule_with_
warmup` of Hugging Face's transformers, with `min_lr` where those end at 0 (polynomial: `lr_end`).
"""

from __future__ import annotations

import math

from stepbus import Scheduler, StepbusError, TrainingState, hookimpl
from stepbus_plugins.schedules.settings import DecayConfig, ExponentialConfig, PolynomialConfig


def _towards(least: float, base: float, left: float) -> float:
    """Return the rate between `base` (left 1) and `least` (left 0); a base that was lowered under `least` stays."""
    end = min(least, base)
    return end + (base - end) * left


class Constant(Scheduler):
    """The base rate."""

    def decayed(self, step: int, total_steps: int, base: float) -> float:
        """Return the base rate."""
        return base


class Linear(Scheduler):
    """Down to min_lr along a line."""

    settings: DecayConfig

    def decayed(self, step: int, total_steps: int, base: float) -> float:
        """Return the rate at an update after the warm-up."""
        return _towards(self.settings.min_lr, base, max(0.0, (total_steps - step) / total_steps))


class Cosine(Scheduler):
    """Down to min_lr along half a cosine."""

    settings: DecayConfig

    def decayed(self, step: int, total_steps: int, base: float) -> float:
        """Return the rate at an update after the warm-up."""
        progress = min(1.0, step / total_steps)
        return _towards(self.settings.min_lr, base, 0.5 * (1 + math.cos(math.pi * progress)))


class Polynomial(Scheduler):
    """Down to min_lr along a power of the fraction that is left."""

    settings: PolynomialConfig

    def decayed(self, step: int, total_steps: int, base: float) -> float:
        """Return the rate at an update after the warm-up."""
        left = max(0.0, 1 - step / total_steps)
        return _towards(self.settings.min_lr, base, math.pow(left, self.settings.power))


class Exponential(Scheduler):
    """Multiplied by gamma every epoch, a little at each update; it learns from the fit how long an epoch is."""

    settings: ExponentialConfig

    def __init__(self, settings: ExponentialConfig) -> None:
        super().__init__(settings)
        self.decay_steps = settings.decay_steps

    @hookimpl
    def on_fit_start(self, state: TrainingState) -> None:
        """Take one epoch as the unit of gamma, unless the settings give another."""
        self.decay_steps = self.settings.decay_steps or state.steps_per_epoch

    def decayed(self, step: int, total_steps: int, base: float) -> float:
        """Return the rate at an update after the warm-up."""
        if not self.decay_steps:
            raise StepbusError("scheduler.decay_steps: expected a number, because no fit has said how long an epoch is")
        return max(min(self.settings.min_lr, base), base * math.pow(self.settings.gamma, step / self.decay_steps))
