"""Two passes under different dropout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define
from stepbus import hookimpl, setting


class TwoPasses:
    """Pull the answers of two passes under different dropout together (R-Drop, arXiv 2106.14448)."""

    @define(frozen=True, kw_only=True)
    class Config:
        """Its settings in YAML."""

        alpha: float = setting(1.0, "what the divergence counts", check=lambda value: value >= 0, expected="at least 0")

    def __init__(self, config: Config) -> None:
        self.config = config

    def trace_key(self, trainer: Any) -> Any:
        """Return what the loss is made of."""
        return self.config

    @hookimpl
    def wrap_loss(self, loss: Callable[..., Any]) -> Callable[..., Any]:
        """Return the mean of two losses with the divergence of both answers."""
        alpha = self.config.alpha

        def twice(forward: Any, batch: Any) -> tuple[Any, dict[str, Any]]:
            one, other = forward(batch), forward(batch)
            first, named = loss(lambda _: one, batch)
            second, _ = loss(lambda _: other, batch)
            apart = divergence(one, other)
            return (first + second) / 2 + alpha * apart, {**named, "apart": apart}

        return twice


def divergence(one: Any, other: Any) -> Any:
    """Return the mean of both Kullback-Leibler divergences of each row, [B].

    Args:
        one: Logits, [B, K].
        other: More of the same rows.
    """
    import mlx.core as mx

    left, right = (each - mx.logsumexp(each, axis=-1, keepdims=True) for each in (one, other))
    return ((mx.exp(left) - mx.exp(right)) * (left - right)).sum(axis=-1) / 2
