"""Stochastic weight averaging: the plain mean of weights along the way, evaluated and exported in their place.

Source: Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", UAI 2018 (arXiv
1803.05407). Its learning rate stays high meanwhile: `scheduler: {type: constant}`.
"""

from __future__ import annotations

from typing import Any

from attrs import define

from stepbus import ConfigError, Problem, TrainingState, hookimpl, setting


def _at_least(least: int, meaning: str) -> Any:
    return setting(
        None, meaning, check=lambda value: value >= least, expected=f"a whole number of at least {least}, or none"
    )


class Swa:
    """Evaluate and export the mean of the weights at the end of each epoch, or every k updates, from some epoch on."""

    averages = True
    follows_skipped = True  # its rhythm goes by the updates of an epoch, of which some may change nothing

    @define(frozen=True, kw_only=True)
    class Config:
        from_epoch: int | None = _at_least(1, "the epoch, from 1, that averaging begins with; none takes the first")
        from_step: int | None = _at_least(0, "updates before averaging begins, in place of from_epoch")
        every: int | None = _at_least(1, "updates between two weights of the mean; none takes an epoch's")

        def problems(self) -> list[tuple[str, str]]:
            """Return what is wrong between the settings, as (setting, message)."""
            if self.from_epoch is not None and self.from_step is not None:
                return [("from_step", "expected from_epoch or from_step, got both; leave one out")]
            return []

    def __init__(self, config: Config) -> None:
        self.config = config

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem] | None:
        """Find a mean that never begins."""
        config, epochs, total = self.config, plan.config.training.num_epochs, plan.total_steps
        if config.from_epoch is not None and config.from_epoch > epochs:
            words = f"expected an epoch of the fit, which has {epochs}, got {config.from_epoch}"
            return [Problem(".from_epoch", f"{words}; nothing would be averaged")]
        if total and config.from_step is not None and config.from_step >= total:
            words = f"expected fewer than the {total:,} updates of the fit, got {config.from_step:,}"
            return [Problem(".from_step", f"{words}; nothing would be averaged")]
        return None

    @hookimpl
    def on_fit_start(self, trainer: Any, state: TrainingState) -> None:
        """Say where the mean would be one of nothing, or of one."""
        begin, every = self.rhythm(state)
        number = (state.total_steps - begin) // every
        if number < 2 and state.step < state.total_steps:
            found = "no weights" if number < 1 else "one set of weights alone"
            trainer.message(
                f"plugins.swa: {found} will enter the mean, which begins after {begin:,} updates and takes one every "
                f"{every:,}, of {state.total_steps:,} in all; begin earlier, set a smaller every, or train longer",
                "warning",
            )

    def rhythm(self, state: TrainingState) -> tuple[int, int]:
        """Return the updates before averaging begins, and those between two weights of the mean.

        Args:
            state: Where the fit stands.

        Raises:
            ConfigError: They go by epochs, and nobody knows yet how long one is.
        """
        config, epoch = self.config, state.steps_per_epoch
        if not epoch and (config.from_step is None or config.every is None):
            words = "expected from_step and every, in updates, because nobody can count the updates of an epoch before "
            raise ConfigError([Problem(".", f"{words}its end; set both")])
        begin = ((config.from_epoch or 1) - 1) * epoch if config.from_step is None else config.from_step
        return begin, config.every or epoch

    def trace_key(self, trainer: Any) -> Any:
        """Return what the mean is made of: fits with an equal rhythm share their compiled steps."""
        return self.rhythm(trainer.state)

    @hookimpl
    def after_update(self, trainer: Any) -> tuple[Any, Any, Any]:
        """Return the mean (float32), how an update adds to it, and that it counts once it has begun."""
        import mlx.core as mx

        from stepbus import hoist

        (begin, every), on_stream = self.rhythm(trainer.state), trainer.optimizer.on_stream

        def follow(parameters: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
            updates, number = arrays["updates"] + 1, arrays["number"]
            due = hoist((updates > begin) & ((updates - begin) % every == 0))
            kept = hoist(number.astype(mx.float32) / (number + 1).astype(mx.float32))
            mean = {}
            for name, array in parameters.items():
                with on_stream(name):  # where the parameter was updated
                    array, before = array.astype(mx.float32), arrays["mean"][name]
                    mean[name] = mx.where(due, array + kept * (before - array), before)
            return {"updates": updates, "number": number + due.astype(mx.int32), "mean": mean}

        def weights(parameters: dict[str, Any], arrays: dict[str, Any]) -> dict[str, Any]:
            begun = arrays["number"] > 0
            return {name: mx.where(begun, arrays["mean"][name], array) for name, array in parameters.items()}

        now, nothing = trainer.optimizer.trained(trainer.model), mx.array(0, dtype=mx.int32)
        begin_with = {
            "updates": mx.array(trainer.state.step, dtype=mx.int32),
            "number": nothing,
            "mean": {name: mx.array(array, dtype=mx.float32) for name, array in now.items()},
        }
        return begin_with, follow, weights
