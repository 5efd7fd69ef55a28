"""Losses: cross_entropy, focal, bce, mse, mae, huber, quantile and ordinal; auto is the head's own."""

from __future__ import annotations

from typing import Any, ClassVar

from stepbus import Component, DataError, LossFacts, class_order, listed
from stepbus_plugins.losses.settings import (
    AbsoluteErrorConfig,
    AutoConfig,
    BinaryCrossEntropyConfig,
    CrossEntropyConfig,
    FocalConfig,
    HuberConfig,
    OrdinalConfig,
    QuantileConfig,
    SquaredErrorConfig,
)
from stepbus_plugins.losses.weighing import class_weights, positive_weights

CLASSES = ("binary", "multiclass")
EVERY = (*CLASSES, "multilabel", "regression")


def build_auto(settings: AutoConfig, facts: LossFacts) -> Any:
    """Refuse: core takes the head's own loss where this is picked."""
    raise DataError("loss.type: auto stands for the loss of the head, which has it")


def build_cross_entropy(settings: CrossEntropyConfig, facts: LossFacts) -> Any:
    """Return the loss."""
    weights = class_weights(settings.class_weights, facts)
    from stepbus_plugins.losses.classes import CrossEntropy

    return CrossEntropy(settings.label_smoothing, weights)


def build_focal(settings: FocalConfig, facts: LossFacts) -> Any:
    """Return the loss: of classes that exclude each other, or of several labels."""
    if facts.task == "multilabel":
        if settings.class_weights is not None:
            raise DataError(
                "loss.class_weights: expected none for multilabel labels, which are true or false each by itself; "
                "take alpha, or the loss bce with positive_weights"
            )
        from stepbus_plugins.losses.classes import BinaryFocal

        return BinaryFocal(settings.gamma, settings.alpha)
    weights = class_weights(settings.class_weights, facts)
    if settings.alpha is not None:
        if len(facts.classes) != 2:
            raise DataError(
                f"loss.alpha: expected none for {len(facts.classes)} classes, because it weighs two; write "
                "class_weights, a number for each"
            )
        weights = (1 - settings.alpha, settings.alpha)
    from stepbus_plugins.losses.classes import Focal

    return Focal(settings.gamma, weights)


def build_bce(settings: BinaryCrossEntropyConfig, facts: LossFacts) -> Any:
    """Return the loss."""
    weights = positive_weights(settings.positive_weights, facts)
    from stepbus_plugins.losses.classes import BinaryCrossEntropy

    return BinaryCrossEntropy(weights)


def build_mse(settings: SquaredErrorConfig, facts: LossFacts) -> Any:
    """Return the loss."""
    from stepbus_plugins.losses.values import SquaredError

    return SquaredError()


def build_mae(settings: AbsoluteErrorConfig, facts: LossFacts) -> Any:
    """Return the loss."""
    from stepbus_plugins.losses.values import AbsoluteError

    return AbsoluteError()


def build_huber(settings: HuberConfig, facts: LossFacts) -> Any:
    """Return the loss."""
    from stepbus_plugins.losses.values import Huber

    return Huber(settings.delta)


def build_quantile(settings: QuantileConfig, facts: LossFacts) -> Any:
    """Return the loss."""
    from stepbus_plugins.losses.values import Quantile

    return Quantile(settings.quantile)


def build_ordinal(settings: OrdinalConfig, facts: LossFacts) -> Any:
    """Return the loss; the order of the classes is that of the head, where it has one."""
    own = None if settings.order is None else tuple(settings.order)
    if own is not None and facts.order is not None and own != facts.order:
        raise DataError(
            f"loss.order: expected the order of the head, {listed(facts.order)}, got {listed(own)}; leave it out"
        )
    order = class_order(facts.classes, own or facts.order, "loss.order")
    from stepbus_plugins.losses.classes import Ordinal

    return Ordinal(order)


class Losses:
    """Offer the losses cross_entropy, focal, bce, mse, mae, huber, quantile and ordinal; auto is the head's own."""

    components: ClassVar[list[Component]] = [
        Component("loss", "auto", AutoConfig, build_auto, {"tasks": EVERY}),
        Component("loss", "cross_entropy", CrossEntropyConfig, build_cross_entropy, {"tasks": CLASSES}),
        Component("loss", "focal", FocalConfig, build_focal, {"tasks": (*CLASSES, "multilabel")}),
        Component("loss", "bce", BinaryCrossEntropyConfig, build_bce, {"tasks": ("multilabel",)}),
        Component("loss", "mse", SquaredErrorConfig, build_mse, {"tasks": ("regression",)}),
        Component("loss", "mae", AbsoluteErrorConfig, build_mae, {"tasks": ("regression",)}),
        Component("loss", "huber", HuberConfig, build_huber, {"tasks": ("regression",)}),
        Component("loss", "quantile", QuantileConfig, build_quantile, {"tasks": ("regression",)}),
        Component("loss", "ordinal", OrdinalConfig, build_ordinal, {"tasks": CLASSES}),
    ]
