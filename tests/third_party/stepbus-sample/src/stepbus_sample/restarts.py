"""A component: a schedule that `scheduler: {type: cosine_restarts}` picks, with settings of its own."""

from __future__ import annotations

import math
from typing import ClassVar

from attrs import define
from stepbus import Component, Scheduler, SchedulerSettings, setting


@define(frozen=True, kw_only=True)
class CosineRestartsConfig(SchedulerSettings):
    """Half a cosine from the base rate down to min_lr, several times in one fit."""

    cycles: int = setting(
        2,
        "half cosines from the base rate down, in one fit",
        check=lambda value: value >= 1,
        expected="a whole number of at least 1",
    )
    min_lr: float = setting(
        0.0, "the rate that each of them ends at", check=lambda value: value >= 0, expected="a number of at least 0"
    )


class CosineRestarts(Scheduler):
    """Half a cosine down, and from the base rate again.

    Source: Loshchilov and Hutter 2017, "SGDR: Stochastic Gradient Descent with Warm Restarts", equation 5, with cycles
    of one length.
    """

    settings: CosineRestartsConfig

    def decayed(self, step: int, total_steps: int, base: float) -> float:
        """Return the rate of an update after the warm-up, both counted without it."""
        least = min(self.settings.min_lr, base)
        done = step * self.settings.cycles % total_steps / total_steps
        return least + (base - least) * 0.5 * (1 + math.cos(math.pi * done))


class Restarts:
    """Offer the schedule cosine_restarts, which starts again from the base rate several times."""

    requires_hooks = 1
    components: ClassVar[list[Component]] = [
        Component("scheduler", "cosine_restarts", CosineRestartsConfig, CosineRestarts)
    ]
