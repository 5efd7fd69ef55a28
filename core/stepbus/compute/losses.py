"""Losses as components: what one is told of the labels, and what it is called with; no MLX here, as settings have none.

How rows are weighed is the engine's: the sum of the row losses by weight, over the sum of the weights. What a
class weighs is part of the row's loss, so that what a row adds does not hang on which rows share its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from attrs import frozen

from stepbus.base import Components, DataError, PluginError, Selected, listed, show_python

if TYPE_CHECKING:
    import mlx.core as mx


@frozen
class LossFacts:
    """What a loss is told before any weights are loaded.

    Args:
        task: binary, multiclass, multilabel or regression.
        classes: The classes, or the columns of several labels, in the order of the outputs; of a regression its target.
        outputs: K, the size of the logits' last axis.
        counts: What the training rows of each class weigh together, soft labels by their probability, [K]; of several
            labels, the rows in which each is true; None of a regression, and where no rows are known.
        total: What all training rows weigh together.
        order: The classes from the lowest to the highest, where the setting `order` of the head says them; else None.

    Example:
        >>> facts = LossFacts("binary", ("no", "yes"), outputs=2, counts=(80.0, 20.0), total=100.0)
        >>> [facts.total / count for count in facts.counts]  # what balanced class weights go by
        [1.25, 5.0]
    """

    task: str
    classes: tuple[str, ...]
    outputs: int
    counts: tuple[float, ...] | None = None
    total: float = 0.0
    order: tuple[str, ...] | None = None


class LossFunction(Protocol):
    """What is made small, row by row: a pure function of arrays. No row may look at another one: some are padding.

    One that is an attrs class whose fields are numbers and texts lets fits that are alike share their compiled steps.
    """

    def __call__(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return the loss of each row, float [B], from logits, float32 [B, K]; the engine weighs and sums.

        Labels are class numbers, int [B]; float [B, K] of 0 to 1 for multilabel and for soft labels; standardised
        targets, float [B], for regression.
        """


def built_loss(components: Components, selected: Selected, facts: LossFacts) -> LossFunction | None:
    """Return the loss of a configuration; None takes the head's own.

    Args:
        components: What the plugins offer.
        selected: The section `loss`.
        facts: What it is told.

    Raises:
        BadInput: It is for other labels, or cannot be built for these.
    """
    if selected.name == "auto":
        return None
    tasks: Sequence[str] = selected.component.metadata["tasks"]
    if facts.task not in tasks:
        fit = [part.name for part, _ in components if part.kind == "loss" and facts.task in part.metadata["tasks"]]
        raise DataError(
            f"loss.type: expected a loss for {facts.task} labels, got {selected.name}, which is for "
            f"{listed(tasks)}; take {listed(fit, 'or')}"
        )
    loss: Any = selected.build(facts)
    if not callable(loss):
        words = f"expected its build to return a function of logits and labels, got {show_python(loss)}"
        raise selected.maker.fault(words, PluginError)
    made: LossFunction = loss
    return made
