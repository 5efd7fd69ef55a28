"""The loss that a configuration picks, built for the labels of a fit, and looked at before any weights are loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepbus.compute import HeadForward, LossFacts, built_loss
from stepbus.compute.models import check_loss

if TYPE_CHECKING:
    from stepbus.config import Config
    from stepbus.text import RowEncoder


def label_facts(config: Config, encoder: RowEncoder) -> LossFacts:
    """Return what a loss is told of labels.

    Args:
        config: The configuration.
        encoder: What turns rows into arrays; it has seen the training rows, or was opened.
    """
    codec, counts = encoder.codec, encoder.counts
    assert codec.task is not None
    return LossFacts(
        codec.task,
        tuple(codec.names),
        codec.outputs,
        None if counts is None or codec.task == "regression" else counts.by_class,
        0.0 if counts is None else counts.total,
        _order(config),
    )


def model_facts(config: Config, model: Any) -> LossFacts:
    """Return what a loss is told of a classifier whose labels come as numbers: its classes are 0, 1, …

    Args:
        config: The configuration.
        model: The classifier.
    """
    return LossFacts(model.task, tuple(map(str, range(model.outputs))), model.outputs, order=_order(config))


def head_forward(config: Config, facts: LossFacts) -> HeadForward:
    """Return how a classifier is called, with the loss that the configuration picks for its labels.

    Args:
        config: The configuration.
        facts: What the loss is told of the labels.

    Raises:
        BadInput: The loss is for other labels, cannot be built for these, or gives no loss of each row.
    """
    loss, maker = built_loss(config.components, config.loss, facts), config.loss.maker
    if loss is None:
        return HeadForward()
    check_loss(loss, maker, facts.task, facts.outputs)
    return HeadForward(loss, maker)


def _order(config: Config) -> tuple[str, ...] | None:
    order = getattr(config.model.settings.head.settings, "order", None)
    return None if order is None else tuple(order)
