"""Optimizers: adamw, adam, sgd, lion, adafactor, muon and schedule_free, and no weight decay on norms and biases."""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import define

from stepbus import Component, Problem, hookimpl, setting
from stepbus_plugins.optimizers.settings import (
    AdafactorConfig,
    AdamConfig,
    AdamWConfig,
    LionConfig,
    MuonConfig,
    ScheduleFreeConfig,
    SGDConfig,
)


def build_adamw(settings: AdamWConfig) -> Any:
    """Return the optimizer."""
    from stepbus_plugins.optimizers.adam import AdamW

    return AdamW.from_settings(settings)


def build_adam(settings: AdamConfig) -> Any:
    """Return the optimizer."""
    from stepbus_plugins.optimizers.adam import Adam

    return Adam.from_settings(settings)


def build_sgd(settings: SGDConfig) -> Any:
    """Return the optimizer."""
    from stepbus_plugins.optimizers.simple import SGD

    return SGD(settings)


def build_lion(settings: LionConfig) -> Any:
    """Return the optimizer."""
    from stepbus_plugins.optimizers.simple import Lion

    return Lion(settings)


def build_adafactor(settings: AdafactorConfig) -> Any:
    """Return the optimizer."""
    from stepbus_plugins.optimizers.adafactor import Adafactor

    return Adafactor(settings)


def build_muon(settings: MuonConfig) -> Any:
    """Return the optimizer."""
    from stepbus_plugins.optimizers.muon import Muon

    return Muon(settings)


def build_schedule_free(settings: ScheduleFreeConfig) -> Any:
    """Return the optimizer."""
    from stepbus_plugins.optimizers.schedule_free import ScheduleFree

    return ScheduleFree(settings)


# Schedules that lower the rate whatever comes.
FALLING = ("linear", "cosine", "exponential", "polynomial")


class Optimizers:
    """Offer adamw, adam, sgd, lion, adafactor, muon and schedule_free; leave norms and biases out of weight decay."""

    components: ClassVar[list[Component]] = [
        Component("optimizer", "adamw", AdamWConfig, build_adamw),
        Component("optimizer", "adam", AdamConfig, build_adam),
        Component("optimizer", "sgd", SGDConfig, build_sgd),
        Component("optimizer", "lion", LionConfig, build_lion),
        Component("optimizer", "adafactor", AdafactorConfig, build_adafactor),
        Component("optimizer", "muon", MuonConfig, build_muon),
        Component("optimizer", "schedule_free", ScheduleFreeConfig, build_schedule_free, {"averages": True}),
    ]

    @define(frozen=True, kw_only=True)
    class Config:
        decay_norms_and_biases: bool = setting(False, "whether weight decay also pulls at norms, biases and vectors")

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem]:
        """Find a rate that falls by itself beside an optimizer that averages in its place."""
        optimizer, schedule = plan.config.optimizer.name, plan.config.scheduler.name
        if optimizer != "schedule_free" or schedule not in FALLING:
            return []
        words = f"expected constant beside optimizer.type: {optimizer}, which averages in its place"
        mend = "set scheduler: {type: constant, warmup_ratio: 0.1}, or take adamw"
        return [Problem("scheduler.type", f"{words}, got {schedule}; {mend}")]

    def trace_key(self, trainer: Any) -> Any:
        """Return what the groups are made of, beside the names of the parameters."""
        return self.config

    @hookimpl
    def parameter_groups(self, model: Any) -> dict[str, dict[str, float]] | None:
        """Give norms, biases and other vectors no weight decay."""
        if self.config.decay_norms_and_biases:
            return None
        from stepbus import no_decay_names

        return {name: {"weight_decay": 0.0} for name in no_decay_names(model.trainable_parameters())}
