"""A second gradient at embeddings that were moved up the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define
from stepbus import Problem, hookimpl, setting


class NudgedEmbeddings:
    """Add the gradient at word embeddings moved up the loss (FGM, arXiv 1605.07725)."""

    @define(frozen=True, kw_only=True)
    class Config:
        """Its settings in YAML."""

        epsilon: float = setting(1.0, "how far they are moved", check=lambda value: value > 0, expected="above 0")
        from_epoch: int = setting(1, "the first epoch", check=lambda value: value >= 1, expected="at least 1")

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem]:
        """Find an epoch that never comes."""
        if self.config.from_epoch <= plan.config.training.num_epochs:
            return []
        words = f"expected at most {plan.config.training.num_epochs} epochs, got {self.config.from_epoch}"
        return [Problem("plugins.nudged_embeddings.from_epoch", words)]

    @hookimpl
    def phases(self, trainer: Any) -> list[int]:
        """Return the updates before the first epoch that it takes part in."""
        start = (self.config.from_epoch - 1) * trainer.state.steps_per_epoch
        return [start] if start else []

    def begun(self, trainer: Any) -> bool:
        """Return whether it takes part by now."""
        return bool(trainer.state.step >= (self.config.from_epoch - 1) * trainer.state.steps_per_epoch)

    def trace_key(self, trainer: Any) -> Any:
        """Return what the gradient is made of."""
        return self.config, self.begun(trainer)

    @hookimpl
    def wrap_gradient(self, trainer: Any, value_and_grad: Callable[..., Any]) -> Callable[..., Any] | None:
        """Return the sum of both gradients; nothing before its first epoch."""
        if not self.begun(trainer):
            return None
        epsilon = self.config.epsilon

        def nudged(parameters: dict[str, Any], batch: Any) -> tuple[Any, Any, Any, Any]:
            import mlx.core as mx

            total, weight, named, gradients = value_and_grad(parameters, batch)
            (name,) = [each for each in parameters if each.endswith("word_embeddings.weight")]
            uphill = gradients[name]
            moved = parameters[name] + epsilon * uphill / mx.maximum(mx.sqrt((uphill * uphill).sum()), 1e-12)
            _, _, _, more = value_and_grad({**parameters, name: moved}, batch)
            return total, weight, named, {each: array + more[each] for each, array in gradients.items()}

        return nudged
