"""Learning-rate schedules: constant, linear, cosine, exponential, polynomial and reduce_on_plateau, each with warm-up.

A schedule answers `rate(step, total_steps, base)`, the learning rate in use; `min_lr` is a rate and no factor, which
is why it is given the base rate.
"""

from __future__ import annotations

from typing import Any, ClassVar

from stepbus import Component, Problem, hookimpl
from stepbus_plugins.schedules.curves import Constant, Cosine, Exponential, Linear, Polynomial
from stepbus_plugins.schedules.plateau import ReduceOnPlateau, plateau_problems
from stepbus_plugins.schedules.settings import (
    ConstantConfig,
    DecayConfig,
    ExponentialConfig,
    PlateauConfig,
    PolynomialConfig,
)


class Schedules:
    """Offer the schedules constant, linear, cosine, exponential, polynomial and reduce_on_plateau, with warm-up."""

    components: ClassVar[list[Component]] = [
        Component("scheduler", "constant", ConstantConfig, Constant),
        Component("scheduler", "linear", DecayConfig, Linear),
        Component("scheduler", "cosine", DecayConfig, Cosine),
        Component("scheduler", "exponential", ExponentialConfig, Exponential),
        Component("scheduler", "polynomial", PolynomialConfig, Polynomial),
        Component("scheduler", "reduce_on_plateau", PlateauConfig, ReduceOnPlateau),
    ]

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem]:
        """Find a min_lr above the base rate, and a plateau that cannot be seen."""
        settings, base = plan.config.scheduler.settings, plan.config.optimizer.settings.learning_rate
        problems = []
        if isinstance(settings, DecayConfig) and settings.min_lr > base:
            problems.append(
                Problem(
                    "scheduler.min_lr",
                    f"expected a rate of at most optimizer.learning_rate ({base:g}), got {settings.min_lr:g}",
                )
            )
        if isinstance(settings, PlateauConfig):
            problems += plateau_problems(settings, plan)
        return problems
