"""Checkpoint policy: when a fit is saved and which checkpoints stay. Core writes, verifies, reads and removes them."""

from __future__ import annotations

from typing import Any, Literal

from attrs import define

from stepbus import Problem, Retention, TrainingState, hookimpl, setting


def _count(default: int | None, meaning: str) -> Any:
    return setting(default, meaning, check=lambda value: value >= 1, expected="a whole number of at least 1")


class CheckpointPolicy:
    """Save checkpoints at epochs, every n steps or at each new best, and keep the newest and the best of them."""

    affects_result = False  # a resume may change it
    asks: tuple[str, ...] = ("checkpoint",)

    @define(frozen=True, kw_only=True)
    class Config:
        save_strategy: Literal["epoch", "steps", "best", "no"] = setting(
            "epoch",
            "when to save; epoch and steps also save each new best and the end of the training, best exports the best",
        )
        save_steps: int | None = _count(None, "updates between checkpoints, with save_strategy: steps")
        keep_last: int | None = _count(
            None, "newest checkpoints to keep besides the best ones; none: two while a fit runs, one of a finished fit"
        )
        keep_best: int | None = _count(None, "best checkpoints to keep, by training.monitor; none: one")
        keep_whole: bool = setting(
            False, "keep the best ones with all that going on from them needs, such as the optimizer's state"
        )
        keep_finished: bool | None = setting(
            None, "keep checkpoints of a fit that is done; none: of a run's only fit, and of several the models alone"
        )
        at_start: bool = setting(True, "save before the first update, which finds a full or read-only disk in time")

        def problems(self) -> list[tuple[str, str]]:
            """Return what is wrong between the settings, as (setting, message)."""
            if self.save_strategy == "steps" and self.save_steps is None:
                return [("save_strategy", "expected save_steps to be set with save_strategy: steps, got none")]
            if self.save_strategy == "no" and self.save_steps is not None:
                return [
                    ("save_steps", f"expected save_strategy: steps with save_steps, got 'no' and {self.save_steps}")
                ]
            return []

        def notes(self) -> list[tuple[str, str]]:
            """Return what has no effect beside other settings, as (setting, message)."""
            if self.save_strategy in ("epoch", "best") and self.save_steps is not None:
                return [("save_steps", f"it has no effect with save_strategy: {self.save_strategy}; steps uses it")]
            if self.save_strategy == "no":
                names = ("keep_last", "keep_best", "keep_whole", "keep_finished")
                idle = [name for name in names if getattr(self, name)]
                return [(name, "it has no effect with save_strategy: no, where nothing is saved") for name in idle]
            return []

    def __init__(self, config: Config) -> None:
        self.config = config
        if config.save_strategy == "no":
            self.asks = ()
        elif config.save_strategy == "best":  # which decides about the weights at the end
            self.asks, self.affects_result = ("checkpoint", "best"), True

    @hookimpl
    def validate_plan(self, plan: Any) -> list[Problem] | None:
        """Find a best that nobody will ever measure."""
        if self.config.save_strategy == "best" and not plan.has_validation:
            why = getattr(plan, "unevaluated", "there is none; give data.validation or a split")
            return [
                Problem(
                    ".save_strategy",
                    f"expected an evaluation that can be the best, but {why}, or save by epoch or steps",
                )
            ]
        return None

    @hookimpl
    def is_boundary(self, step: int) -> bool | None:
        """Announce the steps that are a multiple of save_steps."""
        return self._by_steps(step) or None

    def _by_steps(self, step: int) -> bool:
        every = self.config.save_steps
        return self.config.save_strategy == "steps" and every is not None and step % every == 0

    @hookimpl
    def on_fit_start(self, trainer: Any, state: TrainingState) -> None:
        """Ask for the best weights, try the disk at step 0, and let a checkpoint stay where no file has the first."""
        if self.config.save_strategy == "best" and not trainer.control.best:  # who saves the best means to have it
            trainer.control.request_best("save_strategy: best")
        wanted = self.config.at_start and self.config.save_strategy != "no" and state.step == 0
        if wanted and not trainer.try_disk():
            trainer.control.request_checkpoint("before the first update")

    @hookimpl
    def on_step_end(self, trainer: Any, state: TrainingState) -> None:
        """Ask every save_steps updates, and at the last one, so that no finished work is lost."""
        if self._by_steps(state.step):
            trainer.control.request_checkpoint(
                "every step" if self.config.save_steps == 1 else f"every {self.config.save_steps} steps"
            )
        elif self.config.save_strategy in ("epoch", "steps") and state.step == state.total_steps:
            trainer.control.request_checkpoint("end of the training")

    @hookimpl
    def on_metrics(self, trainer: Any, state: TrainingState) -> None:
        """Ask when this evaluation is the best so far, for only what was saved can be kept."""
        if self.config.save_strategy != "no" and state.best is not None and state.best.step == state.step:
            trainer.control.request_checkpoint(f"best {state.best.metric} so far: {state.best.value:.6g}")

    @hookimpl
    def on_epoch_end(self, trainer: Any, state: TrainingState) -> None:
        """Ask after each epoch; the last one ends with the training, which asked already."""
        if self.config.save_strategy == "epoch" and state.step != state.total_steps:
            trainer.control.request_checkpoint(f"end of epoch {state.epoch + 1}")

    @hookimpl
    def checkpoint_retention(self, trainer: Any) -> Retention:
        """Say how many of the newest and of the best stay, and what of a finished fit does."""
        last, whole, finished = self.config.keep_last, self.config.keep_whole, self.config.keep_finished
        best = 1 if self.config.keep_best is None else self.config.keep_best
        keeps = trainer.run.alone if finished is None else finished
        done = Retention(last, best, whole) if keeps else Retention(last=0, best=0)
        every = self.config.save_steps if self.config.save_strategy == "steps" else self.config.save_strategy
        return Retention(last, best, whole, done, "plugins.checkpoint.keep_finished: true keeps one of each fit", every)
