"""Settings of the schedules."""

from __future__ import annotations

from typing import Any, Literal

from attrs import define

from stepbus import SchedulerSettings, setting


def _min_lr() -> Any:
    return setting(
        0.0, "the rate that the schedule ends at", check=lambda value: value >= 0, expected="a number of at least 0"
    )


@define(frozen=True, kw_only=True)
class ConstantConfig(SchedulerSettings):
    """The base rate after the warm-up."""


@define(frozen=True, kw_only=True)
class DecayConfig(SchedulerSettings):
    """From the base rate to min_lr at the end of the fit."""

    min_lr: float = _min_lr()


@define(frozen=True, kw_only=True)
class PolynomialConfig(DecayConfig):
    """From the base rate to min_lr at the end of the fit, along a power of what is left."""

    power: float = setting(
        2.0,
        "power of the fraction that is left; 1 is linear",
        check=lambda value: value > 0,
        expected="a number above 0",
    )


@define(frozen=True, kw_only=True)
class ExponentialConfig(DecayConfig):
    """Multiplied by gamma every epoch, a little at each update, and never below min_lr."""

    gamma: float = setting(
        0.95,
        "factor for each epoch, or for each decay_steps",
        check=lambda value: 0 < value <= 1,
        expected="a number above 0 and at most 1",
    )
    decay_steps: int | None = setting(
        None,
        "updates that multiply the rate by gamma; an epoch when not given",
        check=lambda value: value >= 1,
        expected="an int of at least 1",
    )


@define(frozen=True, kw_only=True)
class PlateauConfig(DecayConfig):
    """The base rate, lowered each time that a metric stalls."""

    monitor: str | None = setting(None, "the metric to watch; training.monitor when not given")
    factor: float = setting(
        0.5,
        "the base rate is multiplied by this",
        check=lambda value: 0 < value < 1,
        expected="a number between 0 and 1",
    )
    patience: int = setting(
        3,
        "evaluations without improvement that are let pass; the next one lowers the rate",
        check=lambda value: value >= 0,
        expected="an int of at least 0",
    )
    threshold: float = setting(
        1e-4,
        "a smaller change than this is no improvement",
        check=lambda value: value >= 0,
        expected="a number of at least 0",
    )
    threshold_mode: Literal["rel", "abs"] = setting(
        "rel", "whether threshold is a fraction of the best value, or in the metric's own unit"
    )
    cooldown: int = setting(
        0,
        "evaluations after a lowering that are not counted",
        check=lambda value: value >= 0,
        expected="an int of at least 0",
    )
