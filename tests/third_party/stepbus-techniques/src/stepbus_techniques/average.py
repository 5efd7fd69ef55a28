"""An exponential moving average of the weights."""

from __future__ import annotations

from typing import Any

from attrs import define
from stepbus import hookimpl, setting


class WeightAverage:
    """Evaluate and export an exponential moving average of the weights (Polyak and Juditsky 1992)."""

    averages = True

    @define(frozen=True, kw_only=True)
    class Config:
        """Its settings in YAML."""

        decay: float = setting(
            0.99,
            "what each update keeps of the average",
            check=lambda value: 0 < value < 1,
            expected="a number in (0, 1)",
        )

    def __init__(self, config: Config) -> None:
        self.config = config

    def trace_key(self, trainer: Any) -> Any:
        """Return what the average is made of."""
        return self.config

    @hookimpl
    def after_update(self, trainer: Any) -> tuple[Any, Any, Any]:
        """Return the average, how it follows the weights, and that it is what counts."""
        import mlx.core as mx

        decay = self.config.decay

        def follow(parameters: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
            return {name: decay * arrays[name] + (1 - decay) * array for name, array in parameters.items()}

        now = trainer.optimizer.trained(trainer.model)
        return {name: mx.array(array) for name, array in now.items()}, follow, lambda _, arrays: arrays
