"""How it is trained: the sections `optimizer`, `scheduler`, `training` and `environment` as classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Literal

from stepbus.base.trees import UNSET, FlatSettings


class OptimizerConfig(FlatSettings, section="optimizer"):
    """What is set of the section `optimizer`.

    A setting that the optimizer of `type` has not may stand there at its usual value, which changes nothing.

    Example:
        >>> OptimizerConfig(type="adamw", learning_rate=2e-5, momentum=0.9)
        OptimizerConfig(type='adamw', learning_rate=2e-05, momentum=0.9)
    """

    def __init__(
        self,
        type: str = UNSET,
        *,
        learning_rate: float = UNSET,
        weight_decay: float = UNSET,
        beta1: float = UNSET,
        beta2: float = UNSET,
        epsilon: float = UNSET,
        momentum: float = UNSET,
        nesterov: bool = UNSET,
        **more: Any,
    ) -> None:
        """Remember what is named.

        Args:
            type: adamw, adam, sgd, lion, adafactor, muon, schedule_free, or one of a plugin's.
            learning_rate: Base learning rate.
            weight_decay: Weight decay; norms and biases have none.
            beta1: Decay of the running mean of the gradient, per update.
            beta2: Decay of the running mean of its square, per update.
            epsilon: Added to the root of the second moment.
            momentum: Of sgd and muon: share of the last step's velocity that is kept.
            nesterov: Of sgd and muon: whether the step looks ahead along the new velocity.
            **more: Further settings of that optimizer.
        """
        self._keep(locals())


class SchedulerConfig(FlatSettings, section="scheduler"):
    """What is set of the section `scheduler`.

    A setting that the schedule of `type` has not may stand there at its usual value, which changes nothing. Of
    `warmup_steps=500` and `warmup_ratio=0.1`, which the original writes side by side, the ratio counts; of others that
    exclude each other, the one that is not the original's default.

    Example:
        >>> SchedulerConfig(type="cosine", warmup_ratio=0.1)
        SchedulerConfig(type='cosine', warmup_ratio=0.1)
    """

    def __init__(
        self,
        type: str = UNSET,
        *,
        warmup_steps: int = UNSET,
        warmup_ratio: float = UNSET,
        min_lr: float = UNSET,
        gamma: float = UNSET,
        patience: int = UNSET,
        factor: float = UNSET,
        **more: Any,
    ) -> None:
        """Remember what is named.

        Args:
            type: linear, cosine, exponential, polynomial, constant, reduce_on_plateau, or one of a plugin's.
            warmup_steps: Updates over which the rate rises from 0.
            warmup_ratio: The same, as a fraction of all updates.
            min_lr: The rate that the schedule ends at.
            gamma: Of exponential: factor for each epoch.
            patience: Of reduce_on_plateau: evaluations without improvement that are let pass.
            factor: Of reduce_on_plateau: what the rate is multiplied by.
            **more: Further settings of that schedule.
        """
        self._keep(locals())


class TrainingConfig(FlatSettings, section="training"):
    """What is set of the section `training`, and of the plugins that the original's settings lead to.

    `early_stopping_patience` and `early_stopping_threshold` switch early stopping on, `save_strategy` and `save_steps`
    are those of checkpoints, and `gradient_clip_value` is the largest norm of the gradient.

    Example:
        >>> TrainingConfig(num_epochs=3)
        TrainingConfig(num_epochs=3)
    """

    def __init__(
        self,
        *,
        num_epochs: int = UNSET,
        max_steps: int | None = UNSET,
        gradient_accumulation_steps: int = UNSET,
        gradient_clip_value: float | None = UNSET,
        eval_strategy: Literal["epoch", "steps", "no"] = UNSET,
        eval_steps: int | None = UNSET,
        save_strategy: Literal["epoch", "steps", "best", "no"] = UNSET,
        save_steps: int | None = UNSET,
        log_steps: int = UNSET,
        monitor: str = UNSET,
        metric_for_best_model: str = UNSET,
        greater_is_better: bool | None = UNSET,
        early_stopping: bool = UNSET,
        early_stopping_patience: int = UNSET,
        early_stopping_threshold: float = UNSET,
        metrics: Sequence[str | Mapping[str, Any]] | None = UNSET,
        precision: str = UNSET,
        pipeline_depth: int | None = UNSET,
        exact: bool = UNSET,
        seed: int = UNSET,
        **more: Any,
    ) -> None:
        """Remember what is named.

        Args:
            num_epochs: Times that the training rows are seen.
            max_steps: Updates after which the fit ends before its epochs do.
            gradient_accumulation_steps: Batches whose gradients make one update.
            gradient_clip_value: Largest norm of all gradients together.
            eval_strategy: When the validation rows are evaluated.
            eval_steps: Updates between evaluations, with eval_strategy="steps".
            save_strategy: When a checkpoint is written.
            save_steps: Updates between checkpoints, with save_strategy="steps".
            log_steps: Updates between log records.
            monitor: The metric that says which evaluation is the best.
            metric_for_best_model: The same, in the original's word.
            greater_is_better: Direction of it; None asks the metric, and a value against the metric's own is refused.
            early_stopping: Whether a fit stops when the metric has stalled.
            early_stopping_patience: Evaluations in a row without improvement before the stop.
            early_stopping_threshold: A smaller change than this is no improvement.
            metrics: Metrics to compute; None takes the task's own.
            precision: Number format of the computation.
            pipeline_depth: Steps that the device may run ahead.
            exact: Whether a resume is refused where it could not give the same bits.
            seed: Where all randomness starts.
            **more: Further settings of the section.
        """
        self._keep(locals())


class EnvironmentConfig(FlatSettings, section="environment"):
    """What is set of the section `environment`.

    Example:
        >>> EnvironmentConfig(output_dir="runs/first", device="cpu")
        EnvironmentConfig(output_dir='runs/first', device='cpu')
    """

    def __init__(
        self,
        *,
        output_dir: str | PathLike[str] = UNSET,
        device: Literal["auto", "cpu", "gpu"] = UNSET,
        debug: bool = UNSET,
        **more: Any,
    ) -> None:
        """Remember what is named.

        Args:
            output_dir: Folder of the run, relative to the working directory.
            device: What computes; auto takes the GPU where there is one.
            debug: Whether steps are not compiled and every array is looked at.
            **more: Further settings of the section.
        """
        self._keep(locals())
