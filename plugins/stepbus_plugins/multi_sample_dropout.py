"""Multi-sample dropout: one pass through the encoder, several through dropout and head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define

from stepbus import ModelError, StepbusError, hookimpl, setting

# What a batch says of its rows besides what a model computes with: it changes no pooled vector.
OF_ROWS = ("labels", "weights", "ids")


class MultiSampleDropout:
    """Take the mean loss of several dropout masks over the pooled vectors; the encoder runs once.

    The model's own dropout in front of the head (`model.dropout`) gives way to this one in training. A loss inside that
    calls the model on other inputs each time, such as one that mixes rows anew, makes the encoder run for each sample.

    Source: Inoue 2019, "Multi-Sample Dropout for Accelerated Training and Better Generalization", arXiv 1905.09788.
    """

    @define(frozen=True, kw_only=True)
    class Config:
        samples: int = setting(
            5, "dropout masks for each batch", check=lambda value: value >= 2, expected="a whole number of at least 2"
        )
        dropout: float = setting(
            0.5,
            "probability of dropping a pooled feature in a sample",
            check=lambda value: 0 < value < 1,
            expected="a number between 0 and 1",
        )

    def __init__(self, config: Config) -> None:
        self.config = config

    def trace_key(self, trainer: Any) -> Any:
        """Return what the loss is made of: fits with equal settings share their compiled steps."""
        return self.config

    @hookimpl
    def on_fit_start(self, trainer: Any) -> None:
        """Say that a dropout that somebody wrote for the model gives way."""
        own = getattr(trainer.config.model.settings, "dropout", None)
        if own:
            trainer.message(
                f"model.dropout: {own:g} has no effect in training, where multi_sample_dropout drops pooled features "
                f"by {self.config.dropout:g}"
            )

    @hookimpl
    def wrap_loss(self, trainer: Any, loss: Callable[..., Any]) -> Callable[..., Any]:
        """Return the mean of the loss over all samples."""
        return sampled(loss, self.config.samples, masked(self.config.dropout))


class Replayed:
    """A forward that computes the pooled vectors of a batch once for all samples, and the outputs for each.

    A loss inside may call it several times (R-Drop) or on a changed batch (mixup). So what is replayed is the n-th call
    of a sample with the very arrays of the n-th call of the one before.

    Args:
        forward: What computes them.
        dropout: Drops features of pooled vectors.
        kept: What earlier samples have computed; shared by all samples of one batch.
    """

    def __init__(self, forward: Any, dropout: Callable[[Any], Any], kept: dict[Any, Any]) -> None:
        self.forward, self.dropout, self.kept = forward, dropout, kept
        self.calls = 0

    def __call__(self, batch: Any) -> Any:
        """Return the outputs of a batch."""
        return self.logits(self.pooled(batch))

    def pooled(self, batch: Any) -> Any:
        """Return the pooled vectors of a batch, [B, D]."""
        inputs = [(name, array) for name, array in sorted(batch.items()) if name not in OF_ROWS]
        key = (self.calls, *((name, id(array)) for name, array in inputs))
        self.calls += 1
        if key not in self.kept:
            # With the arrays, so that nothing else gets their identity.
            self.kept[key] = self.forward.pooled(batch), inputs
        return self.kept[key][0]

    def logits(self, pooled: Any) -> Any:
        """Return the outputs of pooled vectors under a new mask."""
        return self.forward.head(self.dropout(pooled))

    def head(self, pooled: Any) -> Any:
        """Return the outputs of pooled vectors as they are."""
        return self.forward.head(pooled)


def masked(probability: float) -> Callable[[Any], Any]:
    """Return a dropout that draws a new mask at each call.

    Args:
        probability: Of dropping a feature; the others are scaled up, so that their mean stays.
    """

    def dropout(pooled: Any) -> Any:
        import mlx.nn as nn

        return nn.Dropout(probability)(pooled)

    return dropout


def sampled(
    loss: Callable[..., Any], samples: int, dropout: Callable[[Any], Any]
) -> Callable[[Any, Any], tuple[Any, dict[str, Any]]]:
    """Return the mean of a loss over several dropout masks of the same pooled vectors.

    Args:
        loss: `loss(forward, batch) -> (row losses [B], named scalars)`.
        samples: How many.
        dropout: Draws a mask and applies it, at each call.
    """

    def wrapped(forward: Any, batch: Any) -> tuple[Any, dict[str, Any]]:
        if missing := [name for name in ("pooled", "head") if not hasattr(forward, name)]:
            raise ModelError(
                f"multi_sample_dropout: expected a model with pooled vectors and a head, got one without {missing[0]}; "
                "switch it off, or name it after the plugin that hands on a function of its own in the model's place"
            )
        kept: dict[Any, Any] = {}
        found = []
        for _ in range(samples):
            replayed = Replayed(forward, dropout, kept)
            found.append(loss(replayed, batch))
            if not replayed.calls:
                raise StepbusError(
                    "multi_sample_dropout: expected a loss that calls the model, got one that never did; a model that "
                    "computes its own loss does not go with it"
                )
        losses, named = zip(*found, strict=True)
        means = {name: sum(each[name] for each in named) / samples for name in named[0]}
        return sum(losses) / samples, means

    return wrapped
