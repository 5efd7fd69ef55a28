"""Losses of a regression, in standard deviations of the training targets as they are learnt."""

from __future__ import annotations

from attrs import frozen

from stepbus import mx


def errors(logits: mx.array, labels: mx.array) -> mx.array:
    """Return target - prediction, [B, 1]."""
    return labels.reshape(logits.shape).astype(mx.float32) - logits


@frozen
class SquaredError:
    """Squared error: the prediction becomes the mean."""

    def __call__(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return the loss of each row, [B], of values [B, 1] and targets [B]."""
        return mx.mean(mx.square(errors(logits, labels)), axis=-1)


@frozen
class AbsoluteError:
    """Absolute error: the prediction becomes the median."""

    def __call__(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return the loss of each row, [B], of values [B, 1] and targets [B]."""
        return mx.mean(mx.abs(errors(logits, labels)), axis=-1)


@frozen
class Huber:
    """Squared error up to delta, a line beyond, as PyTorch's `HuberLoss`.

    Source: Huber 1964, "Robust Estimation of a Location Parameter".

    Args:
        delta: Where the square becomes a line.
    """

    delta: float = 1.0

    def __call__(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return the loss of each row, [B], of values [B, 1] and targets [B]."""
        size = mx.abs(errors(logits, labels))
        # A square of what is beyond delta may overflow, and 0 times that in the gradient is no number.
        square = mx.square(mx.minimum(size, self.delta)) / 2
        return mx.mean(square + self.delta * mx.maximum(size - self.delta, 0.0), axis=-1)


@frozen
class Quantile:
    """Pinball loss: q · e of a target above the prediction, (1 - q) · -e of one below.

    Source: Koenker and Bassett 1978, "Regression Quantiles".

    Args:
        quantile: q.
    """

    quantile: float = 0.5

    def __call__(self, logits: mx.array, labels: mx.array) -> mx.array:
        """Return the loss of each row, [B], of values [B, 1] and targets [B]."""
        error = errors(logits, labels)
        return mx.mean(mx.maximum(self.quantile * error, (self.quantile - 1) * error), axis=-1)
