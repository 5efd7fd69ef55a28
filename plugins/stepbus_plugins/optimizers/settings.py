"""Settings of the optimizers; no MLX here, so that a configuration is checked at once."""

from __future__ import annotations

from typing import Any

from attrs import define

from stepbus import OptimizerSettings, setting

ONE = 1 - 2**-25  # from here on the nearest number of float32 is 1


def _beta(default: float, meaning: str) -> Any:
    return setting(
        default,
        meaning,
        check=lambda value: 0 <= value < ONE,
        expected="a number from 0 up to, but not including, 1 (as is in float32 what is nearer to 1 than 3e-8)",
    )


def _above_zero(default: float | None, meaning: str) -> Any:
    return setting(default, meaning, check=lambda value: value > 0, expected="a number above 0")


def _at_least_zero(default: float, meaning: str) -> Any:
    return setting(default, meaning, check=lambda value: value >= 0, expected="a number of at least 0")


@define(frozen=True, kw_only=True)
class AdamWConfig(OptimizerSettings):
    """AdamW: Adam with bias correction and decoupled weight decay."""

    beta1: float = _beta(0.9, "decay of the running mean of the gradient, per update")
    beta2: float = _beta(0.999, "decay of the running mean of its square, per update")
    epsilon: float = _above_zero(1e-8, "added to the root of the corrected second moment")


@define(frozen=True, kw_only=True)
class AdamConfig(AdamWConfig):
    """Adam with bias correction; weight decay is an L2 penalty, part of the gradient."""

    weight_decay: float = _at_least_zero(0.0, "L2 penalty: this times the parameter is added to its gradient")


@define(frozen=True, kw_only=True)
class SGDConfig(OptimizerSettings):
    """Gradient descent with momentum; weight decay is an L2 penalty, part of the gradient."""

    weight_decay: float = _at_least_zero(0.0, "L2 penalty: this times the parameter is added to its gradient")
    momentum: float = _beta(0.9, "share of the last step's velocity that is kept; 0 is plain gradient descent")
    nesterov: bool = setting(False, "whether the step looks ahead along the new velocity")

    def problems(self) -> list[tuple[str, str]]:
        """Return what is wrong between the settings, as (setting, message)."""
        if self.nesterov and self.momentum == 0:
            return [("nesterov", "expected a momentum above 0 with nesterov: true, got 0")]
        return []


@define(frozen=True, kw_only=True)
class LionConfig(OptimizerSettings):
    """Lion: steps of one size in the direction of the sign; wants a rate 3 to 10 times below AdamW's."""

    beta1: float = _beta(0.9, "weight of the running mean in the step's direction")
    beta2: float = _beta(0.99, "decay of the running mean of the gradient, per update")


@define(frozen=True, kw_only=True)
class AdafactorConfig(OptimizerSettings):
    """Adafactor: a second moment kept as row and column means, so the state is almost nothing."""

    beta1: float = _beta(0.0, "decay of the running mean of the update; 0 keeps none, which saves its memory")
    decay_rate: float = setting(
        0.8,
        "how fast the second moment's decay goes to 1: it is 1 - step^-decay_rate",
        check=lambda value: 0 < value <= 1,
        expected="a number above 0 and at most 1",
    )
    clip_threshold: float = _above_zero(1.0, "largest root mean square of an update, in learning rates")
    epsilon: float = _above_zero(1e-30, "added to the square of the gradient")
    scale_parameter: bool = setting(False, "whether the rate is multiplied by each parameter's root mean square")
    epsilon_scale: float | None = _above_zero(None, "least root mean square, with scale_parameter; none: 1e-3")

    def notes(self) -> list[tuple[str, str]]:
        """Return what has no effect beside other settings, as (setting, message)."""
        if self.epsilon_scale is not None and not self.scale_parameter:
            return [("epsilon_scale", "it has no effect with scale_parameter: false; scale_parameter: true uses it")]
        return []


@define(frozen=True, kw_only=True)
class MuonConfig(OptimizerSettings):
    """Muon for the hidden weight matrices, AdamW for everything else."""

    learning_rate: float = _above_zero(1e-3, "base learning rate of the matrices: about the spectral norm of a step")
    momentum: float = _beta(0.95, "decay of the running mean of the gradient, per update")
    nesterov: bool = setting(True, "whether the step looks ahead along the new running mean")
    newton_schulz_steps: int = setting(
        5,
        "iterations of the orthogonalisation",
        check=lambda value: value >= 1,
        expected="a whole number of at least 1",
    )
    adamw_learning_rate: float = _above_zero(5e-5, "base learning rate of everything else, on the same schedule")
    adamw_names: tuple[str, ...] = setting(
        ("embedding", "head", "classifier"), "parameters with one of these words in their name go to AdamW"
    )
    beta1: float = _beta(0.9, "AdamW's decay of the running mean of the gradient")
    beta2: float = _beta(0.999, "AdamW's decay of the running mean of its square")
    epsilon: float = _above_zero(1e-8, "AdamW's epsilon")

    def problems(self) -> list[tuple[str, str]]:
        """Return what is wrong between the settings, as (setting, message)."""
        if not 1e-30 <= self.adamw_learning_rate / self.learning_rate <= 1e30:
            words = f"expected a rate within 1e30 times the learning_rate of {self.learning_rate:g}, either way"
            return [("adamw_learning_rate", f"{words}, got {self.adamw_learning_rate:g}")]
        return []


@define(frozen=True, kw_only=True)
class ScheduleFreeConfig(OptimizerSettings):
    """Schedule-Free AdamW: a mean of the steps in place of a schedule; wants scheduler.type: constant."""

    beta1: float = setting(
        0.9,
        "how near to the mean of the steps gradients are taken; 1 is at the mean itself",
        check=lambda value: 0 < value <= 1,
        expected="a number above 0 and at most 1",
    )
    beta2: float = _beta(0.999, "decay of the running mean of the gradient's square, per update")
    epsilon: float = _above_zero(1e-8, "added to the root of the corrected second moment")
