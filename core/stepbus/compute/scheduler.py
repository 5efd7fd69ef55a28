"""The learning rate as a function of the step. Knows no MLX."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from stepbus.config import SchedulerSettings
from stepbus.kernel import protocols


class Scheduler:
    """The learning rate as a pure function of the step: a warm-up from 0, then what the subclass says.

    The warm-up and the count of its updates are those of Hugging Face's `get_*_schedule_with_warmup`.

    Args:
        settings: The section `scheduler`.

    Example:
        >>> class Halves(Scheduler):
        ...     def decayed(self, step, total_steps, base):
        ...         return base * 0.5**step
        >>> scheduler = Halves(SchedulerSettings(warmup_steps=2))
        >>> [scheduler.rate(step, total_steps=10, base=1.0) for step in range(5)]
        [0.0, 0.5, 1.0, 0.5, 0.25]
    """

    def __init__(self, settings: SchedulerSettings) -> None:
        self.settings = settings

    @classmethod
    def adopt(cls, part: Any) -> protocols.LRScheduler | None:
        """Return a stranger's object with a `rate`, or a function of the same arguments, as a schedule; else None."""
        if isinstance(part, type):
            return None
        if isinstance(part, protocols.LRScheduler):
            return part
        return _OfFunction(part) if callable(part) else None

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


class _OfFunction:
    """A function of step, total_steps and base as a schedule.

    Args:
        rate: The function.
    """

    def __init__(self, rate: Callable[[int, int, float], float]) -> None:
        self.rate = rate


def warmup_steps(settings: SchedulerSettings, total_steps: int) -> int:
    """Return how many updates the warm-up takes: `warmup_steps`, else `warmup_ratio` of all, rounded up."""
    return settings.warmup_steps or math.ceil(settings.warmup_ratio * total_steps)
