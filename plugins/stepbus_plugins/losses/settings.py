"""Settings of the losses; no MLX here, so that a configuration is checked at once."""

from __future__ import annotations

import math
from typing import Any

from attrs import define

from stepbus import LossSettings, setting

Weights = str | list[float] | dict[str, float]
BALANCED = "balanced, a number for each, or a mapping of their names to numbers; finite and at least 0, one above 0"


def _weights(value: Any) -> bool:
    if isinstance(value, str):
        return value == "balanced"
    numbers = [*value.values()] if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return any(numbers) and all(math.isfinite(number) and number >= 0 for number in numbers)


@define(frozen=True, kw_only=True)
class ClassLossConfig(LossSettings):
    """What a loss of classes that exclude each other has."""

    class_weights: Weights | None = setting(
        None,
        "what a row's loss is multiplied by, by its class: a number for each in the order of the classes, a mapping of "
        "their names, or balanced, which is all training rows / (classes x those of the class); the engine still "
        "divides by the weights of the rows alone",
        check=_weights,
        expected=BALANCED,
    )


@define(frozen=True, kw_only=True)
class AutoConfig(LossSettings):
    """The head's own: cross-entropy of classes, binary cross-entropy of labels, squared error of values."""


@define(frozen=True, kw_only=True)
class CrossEntropyConfig(ClassLossConfig):
    """Cross-entropy of classes that exclude each other, with label smoothing and class weights."""

    label_smoothing: float = setting(
        0.0,
        "share of a label that is spread evenly over all classes",
        check=lambda value: 0 <= value < 1,
        expected="a number from 0 up to, but not including, 1",
    )


@define(frozen=True, kw_only=True)
class FocalConfig(ClassLossConfig):
    """Cross-entropy in which rows that are right already count less."""

    gamma: float = setting(
        2.0,
        "how much less a row counts the surer it is right: (1 - p)^gamma; 0 is the cross-entropy",
        check=lambda value: 0 <= value < math.inf,
        expected="a finite number of at least 0",
    )
    alpha: float | None = setting(
        None,
        "weight of true labels, or of the second of two classes; the others weigh 1 - alpha; none weighs both 1",
        check=lambda value: 0 < value < 1,
        expected="a number between 0 and 1",
    )

    def problems(self) -> list[tuple[str, str]]:
        """Return what is wrong between the settings, as (setting, message)."""
        if self.alpha is not None and self.class_weights is not None:
            return [("alpha", "expected either alpha or class_weights, for both weigh classes, got both")]
        return []


@define(frozen=True, kw_only=True)
class BinaryCrossEntropyConfig(LossSettings):
    """Binary cross-entropy of several labels, averaged over them, with weights of what is true."""

    positive_weights: float | Weights | None = setting(
        None,
        "what the loss of a true label is multiplied by: one number, a number for each label, a mapping of their "
        "columns, or balanced, which is the training rows in which it is false / those in which it is true",
        check=_weights,
        expected=f"one number, {BALANCED}",
    )


@define(frozen=True, kw_only=True)
class SquaredErrorConfig(LossSettings):
    """Squared error: the prediction becomes the mean."""


@define(frozen=True, kw_only=True)
class AbsoluteErrorConfig(LossSettings):
    """Absolute error: the prediction becomes the median."""


@define(frozen=True, kw_only=True)
class HuberConfig(LossSettings):
    """Squared error of small errors, absolute error of large ones."""

    delta: float = setting(
        1.0,
        "where the square becomes a line, in standard deviations of the training targets as they are learnt",
        check=lambda value: 0 < value < math.inf,
        expected="a finite number above 0",
    )


@define(frozen=True, kw_only=True)
class QuantileConfig(LossSettings):
    """Pinball loss: the prediction becomes a quantile of the target."""

    quantile: float = setting(
        0.5,
        "share of the rows whose target is to lie below the prediction; 0.5 is the median",
        check=lambda value: 0 < value < 1,
        expected="a number between 0 and 1",
    )


@define(frozen=True, kw_only=True)
class OrdinalConfig(LossSettings):
    """Binary cross-entropy of lying above each class but the highest, averaged over them."""

    order: list[str] | None = setting(
        None,
        "the classes from the lowest to the highest; none takes the order of the head, else numbers by their value",
        check=lambda value: len(value) > 1,
        expected="a list of classes",
    )
