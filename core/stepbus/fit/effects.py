"""What of a configuration has no effect on a run, or another one than it seems to have, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stepbus.base import Problem, counted

if TYPE_CHECKING:
    from stepbus.config import Config, TrainingSettings
    from stepbus.kernel import Fit


def unevaluated(training: TrainingSettings, monitored: bool, steps_per_epoch: int, total_steps: int) -> str:
    """Return why nothing is evaluated during training and what to do about it, or "" where something is.

    Args:
        training: The section.
        monitored: Whether there are rows to evaluate.
        steps_per_epoch: Updates of one epoch.
        total_steps: Updates of the fit.
    """
    by_training = by_training_alone(training, monitored)
    if not monitored and not by_training:
        return "there are no validation rows; give data.validation or a split, or set training.monitor: train_loss"
    if training.eval_strategy == "no" and not by_training:
        return "training.eval_strategy is no; set it to epoch or steps"
    updates = counted(total_steps, "update")
    if (training.eval_strategy == "epoch" or by_training) and steps_per_epoch > total_steps:
        return (
            f"training.max_steps ends the fit after {updates}, within its first epoch of {steps_per_epoch:,}; "
            "raise it, or set eval_strategy: steps with eval_steps"
        )
    if training.eval_strategy == "steps" and (training.eval_steps or 0) > total_steps and not by_training:
        return f"training.eval_steps is {training.eval_steps:,} and the fit has {updates}; lower eval_steps"
    return ""


def by_training_alone(training: TrainingSettings, monitored: bool) -> bool:
    """Return whether the means of each epoch's training rows decide, without any rows to evaluate."""
    return training.monitor.startswith("train_") and (not monitored or training.eval_strategy == "no")


def loop_notes(config: Config, monitored: bool, steps_per_epoch: int, total_steps: int) -> list[tuple[str, str]]:
    """Return (setting, message) for what of the section `training` has another effect than it seems to have.

    Args:
        config: The configuration.
        monitored: Whether there is a set to evaluate.
        steps_per_epoch: Updates of one epoch of the first fit; 0 where nobody knows.
        total_steps: Updates of the first fit.
    """
    training = config.training
    found: list[tuple[str, str]] = []
    every = training.num_epochs * steps_per_epoch
    if steps_per_epoch and training.max_steps is not None and training.max_steps > every:
        epochs = counted(training.num_epochs, "epoch")
        found.append(
            (
                "training.max_steps",
                f"{counted(training.max_steps, 'update')} are never reached, because there are {every:,} in {epochs}; "
                "a larger training.num_epochs trains longer",
            )
        )
    if config.environment.debug:
        words = (
            "steps run uncompiled, 1.5 to 5 times slower, every array is looked at, and the first that is not finite "
            "ends the run"
        )
        ahead = "; training.pipeline_depth has no effect" if training.pipeline_depth else ""
        found.append(("environment.debug", words + ahead))
    why = unevaluated(training, monitored, steps_per_epoch, total_steps)
    if why and monitored and training.eval_strategy != "no":
        path = "training.eval_steps" if training.eval_strategy == "steps" else "training.max_steps"
        found.append((path, f"nothing is evaluated before the end of the training: {why}"))
    return found


def _is_split(fit: Fit) -> bool:
    """Say whether validation rows were set aside from the training rows, by the configuration or in Python."""
    train, validation = fit.sets["train"], fit.sets.get("validation")
    return validation is not None and validation.origin is train.origin


def run_notes(config: Config, fits: list[Fit], steps_per_epoch: int, total_steps: int, longest: int) -> list[str]:
    """Return a sentence for each setting that has no effect, or another one than it seems to have.

    Args:
        config: The configuration.
        fits: The fits of the run.
        steps_per_epoch: Updates of one epoch of the first fit.
        total_steps: Updates of the first fit.
        longest: Tokens of its longest training row.
    """
    data = config.data.settings
    found = loop_notes(config, fits[0].monitored is not None, steps_per_epoch, total_steps)
    if not _is_split(fits[0]) and not any(fit.scope for fit in fits):
        if data.stratify and "data.stratify" in config.marks:
            found.append(("data.stratify", "it has no effect, because no rows are split here"))
        if data.group is not None:
            found.append(("data.group", "no rows are kept together by it, because none are split"))
    if data.num_workers == 0 and "data.prefetch_size" in config.marks:
        found.append(("data.prefetch_size", "it has no effect with num_workers: 0, where no batch is collated ahead"))
    if data.tokens_per_batch is not None and data.tokens_per_batch < longest:
        words = (
            f"a row of {longest:,} tokens is longer than {data.tokens_per_batch:,}, and makes a larger batch by itself"
        )
        found.append(("data.tokens_per_batch", words))
    if data.tokens_per_batch is not None and "data.batch_size" in config.marks:
        words = "it counts in evaluations only, because of tokens_per_batch"
        if data.eval_batch_size is not None:
            words = "it has no effect beside tokens_per_batch and eval_batch_size"
        found.append(("data.batch_size", words))
    return [*config.notes, *(str(config.locate(Problem(path, message))) for path, message in found)]
