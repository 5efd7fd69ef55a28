"""An exponential moving average of the weights, which is evaluated, chosen as best and exported in their place.

Sources: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control Optim. 30(4),
1992; the moving average and the warm-up of its decay are those of TensorFlow's `ExponentialMovingAverage`.
"""

from __future__ import annotations

from typing import Any

from attrs import define

from stepbus import Problem, TrainingState, hookimpl, setting


class Ema:
    """Evaluate and export an exponential moving average of the weights, in place of the weights of the last update."""

    averages = True

    @define(frozen=True, kw_only=True)
    class Config:
        decay: float = setting(
            0.999,
            "how much of the average each update keeps; about the last 1 / (1 - decay) updates count",
            check=lambda value: 0 <= value < 1 - 2**-25,  # from there on float32 has 1
            expected="a number from 0 up to, but not including, 1 (as is in float32 what is nearer to 1 than 3e-8)",
        )
        warmup: bool = setting(
            True,
            "whether the n-th update keeps no more than (1 + n) / (10 + n), so that the first weights are soon gone",
        )
        from_step: int = setting(
            0,
            "updates before the average begins, with the weights as they are then",
            check=lambda value: value >= 0,
            expected="a whole number of at least 0",
        )

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem] | None:
        """Find an average that never begins."""
        if plan.total_steps and self.config.from_step >= plan.total_steps:
            words = f"expected fewer than the {plan.total_steps:,} updates of the fit, got {self.config.from_step:,}"
            return [Problem(".from_step", f"{words}; the average would never begin")]
        return None

    @hookimpl
    def on_fit_start(self, trainer: Any, state: TrainingState) -> None:
        """Say where the average will hardly have moved at the end of the fit."""
        updates = state.total_steps - self.config.from_step
        left = self.config.decay**updates
        if not self.config.warmup and left > 0.5 and state.step < state.total_steps:
            trainer.message(
                f"plugins.ema.decay: {left:.0%} of the average will still be the weights that it begins with, after "
                f"{updates:,} updates at {self.config.decay:g}; lower decay, or set warmup: true",
                "warning",
            )

    def trace_key(self, trainer: Any) -> Any:
        """Return what the average is made of: fits with equal settings share their compiled steps."""
        return self.config

    @hookimpl
    def after_update(self, trainer: Any) -> tuple[Any, Any, Any]:
        """Return the average (float32), how an update moves it, and that it is what counts."""
        import mlx.core as mx

        from stepbus import hoist

        config, on_stream = self.config, trainer.optimizer.on_stream

        def follow(parameters: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
            updates = arrays["updates"] + 1
            kept = hoist(decay_of(config, updates - config.from_step))
            mean = {}
            for name, array in parameters.items():
                with on_stream(name):  # where the parameter was updated, which saves a pass over it
                    array = array.astype(mx.float32)
                    before = arrays["mean"][name]
                    # From the weights towards the average: where nothing is kept, these are the weights to the bit.
                    mean[name] = array + kept * (before - array)
            return {"updates": updates, "mean": mean}

        now = trainer.optimizer.trained(trainer.model)
        begin = {
            "updates": mx.array(trainer.state.step, dtype=mx.int32),
            "mean": {name: mx.array(array, dtype=mx.float32) for name, array in now.items()},
        }
        return begin, follow, lambda _, arrays: arrays["mean"]


def decay_of(config: Ema.Config, updates: Any) -> Any:
    """Return how much of the average an update keeps, 0-d float32.

    Args:
        config: The settings.
        updates: The number of this update since the average began, from 1; below that nothing is kept.
    """
    import mlx.core as mx

    number = updates.astype(mx.float32)
    decay = mx.array(config.decay, dtype=mx.float32)
    if config.warmup:
        decay = mx.minimum(decay, (1 + number) / (10 + mx.maximum(number, 0)))
    return mx.where(updates >= 1, decay, 0.0)
