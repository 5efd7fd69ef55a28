"""The learning rate as a function of the step. Knows no MLX."""

from __future__ import annotations

import math

from stepbus.config import SchedulerConfig


class Scheduler:
    """The learning rate as a pure function of the step: a warm-up from 0, then what the subclass says.

    The warm-up and the count of its updates are those of Hugging Face's `get_*_schedule_with_warmup`.

    Args:
        settings: The section `scheduler`.
    """

    def __init__(self, settings: SchedulerConfig) -> None:
        self.settings = settings

    def rate(self, step: int, total_steps: int, base: float) -> float:
        """Return the learning rate of one update.

        Args:
            step: The update, from 0.
            total_steps: Updates of the whole fit.
            base: The base learning rate.
        """
        warmup = warmup_steps(self.settings, total_steps)
        if step < warmup:
            return base * (step / warmup)
        return self.decayed(step - warmup, max(1, total_steps - warmup), base)

    def decayed(self, step: int, total_steps: int, base: float) -> float:
        """Return the learning rate of one update after the warm-up; both counts leave the warm-up out."""
        raise NotImplementedError(f"{type(self).__name__} has no decayed(step, total_steps, base); write it")


def warmup_steps(settings: SchedulerConfig, total_steps: int) -> int:
    """Return how many updates the warm-up takes: `warmup_steps`, else `warmup_ratio` of all, rounded up."""
    return settings.warmup_steps or math.ceil(settings.warmup_ratio * total_steps)
