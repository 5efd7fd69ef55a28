"""A head of classes that lie in an order, such as ratings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import mlx.core as mx
import mlx.nn as nn

from stepbus import class_order
from stepbus_plugins.heads.outputs import SoftmaxHead


class OrdinalHead(nn.Module):
    """Proportional odds: P(y > k) = sigmoid(score - threshold_k), for one score and K - 1 thresholds that rise.

    Its logits are the K log-probabilities, so that their softmax is the probabilities and every loss of classes fits.
    Each threshold lies above the one before it by the softplus of a parameter, so that no probability is negative; a
    score of 0 starts with all classes alike.

    Source: McCullagh 1980, "Regression Models for Ordinal Data".

    Args:
        hidden_size: Width of the pooled vector.
        outputs: K.
        order: The classes from the lowest to the highest; None takes numbers by their value.
    """

    def __init__(self, hidden_size: int, outputs: int, order: Sequence[str] | None = None) -> None:
        super().__init__()
        self.start: tuple[float, ...]
        self.order: tuple[str, ...] | None
        self.ranks: tuple[int, ...]
        self.weight = mx.random.normal((1, hidden_size), scale=hidden_size**-0.5)
        # What is learnt is added to thresholds at which all classes are alike, so that it starts at 0.
        self.threshold_bias = mx.zeros((outputs - 1,))
        edges = [math.log(rank / (outputs - rank)) for rank in range(1, outputs)]
        gaps = [math.log(math.expm1(high - low)) for low, high in itertools.pairwise(edges)]
        # No parts of the parameter tree.
        object.__setattr__(self, "start", (*edges[:1], *gaps))
        object.__setattr__(self, "order", None if order is None else tuple(order))
        object.__setattr__(self, "ranks", tuple(range(outputs)))

    def take_classes(self, classes: Sequence[str]) -> None:
        """Learn which output is which class.

        Args:
            classes: The classes in the order of the outputs.

        Raises:
            DataError: `order` names others, or is missing for words.
        """
        places = class_order(classes, self.order, "model.head.order")
        object.__setattr__(self, "ranks", tuple(places.index(place) for place in range(len(places))))

    def __call__(self, pooled: mx.array) -> mx.array:
        """Return log-probabilities, float32 [B, K], of pooled [B, D]."""
        score = (pooled @ self.weight.T).astype(mx.float32)
        steps = mx.array(self.start) + self.threshold_bias.astype(mx.float32)
        gaps = steps[1:]
        below = mx.cumsum(mx.concatenate([steps[:1], mx.logaddexp(gaps, mx.array(0.0))])) - score  # [B, K - 1]
        # `below`: the log odds of y <= k. For a > b sigmoid(a) - sigmoid(b) is sigmoid(a) sigmoid(-b) (1 - exp(b - a)):
        # a - b is softplus(gap) and 1 - exp(-softplus(gap)) is sigmoid(gap): nothing is lost to a difference.
        at_most, above = -mx.logaddexp(-below, mx.array(0.0)), -mx.logaddexp(below, mx.array(0.0))
        between = at_most[:, 1:] + above[:, :-1] - mx.logaddexp(-gaps, mx.array(0.0))
        logs = mx.concatenate([at_most[:, :1], between, above[:, -1:]], axis=1)
        return logs if self.ranks == tuple(range(len(self.ranks))) else logs[:, mx.array(self.ranks)]

    def loss(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return the cross-entropy of each row, [B], of class numbers [B] or soft labels [B, K]."""
        return SoftmaxHead.loss(self, logits, labels)  # type: ignore[arg-type]  # it takes nothing of the head

    def predictions(self, logits: mx.array) -> mx.array:
        """Return the probability of each class, [B, K]."""
        return mx.softmax(logits.astype(mx.float32), axis=-1)
