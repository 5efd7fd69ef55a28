"""Where a fit stands. Knows no MLX."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from attrs import asdict, define, field, frozen

from stepbus.base import as_list, built, count, fields_of, named, number, text
from stepbus.base.guards import Scores, as_read_only, unless_handed_over
from stepbus.kernel.parts import StepResult

_COUNTS = (
    "epoch", "step", "step_in_epoch", "samples_seen", "tokens_seen", "skipped", "first_skipped", "overflows",
    "total_steps", "steps_per_epoch",
)  # fmt: skip


@frozen
class Best:
    """The best evaluation so far."""

    metric: str
    value: float
    step: int


@define(on_setattr=unless_handed_over)
class TrainingState:
    """Where a fit stands; hooks read it, checkpoints keep it.

    Args:
        epoch: Epochs finished before the present one, from 0.
        step: Optimizer updates committed.
        step_in_epoch: Updates committed in the present epoch.
        samples_seen: Real rows trained on.
        tokens_seen: Real tokens trained on.
        skipped: Updates that changed nothing, because a loss, a gradient or a new weight was no finite number.
        first_skipped: The first of them; 0 where there is none, or it is not known any more.
        overflows: Those of them that a smaller loss scale mends.
        learning_rate: The rate in use at the last update.
        metrics: The latest metrics by name (`eval_loss`, `eval_accuracy`, …; `train_loss` of the latest epoch).
        history: One record for each evaluation cycle: step, epoch and metrics.
        logged: One record for each log interval: step, epoch and numbers, none of the clock's.
        epoch_means: One record for each epoch, and for the part of one that the fit ended in: step, epoch and the means
            over its rows: `train_loss`, and `train_NAME` of each part of the loss.
        best: The best evaluation of the monitored metric.
        total_steps: Updates of the whole fit.
        steps_per_epoch: Updates of one epoch; 0 until the first has ended where nobody can count them before.
        interval: Sums since the last log record.
        of_epoch: Sums of the present epoch: of the loss and its parts, by weight, and of the weights.
        evaluated: Set name -> the step that it was last evaluated at.
        handed_over: Whether plugins see it, so that core alone may change it.

    Example:
        >>> TrainingState(epoch=1, step=10, step_in_epoch=2, steps_per_epoch=8).epoch_progress
        1.25
    """

    named: ClassVar[str] = "state"

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    samples_seen: int = 0
    tokens_seen: int = 0
    skipped: int = 0
    first_skipped: int = 0
    overflows: int = 0
    learning_rate: float = 0.0
    metrics: dict[str, float] = field(factory=dict, metadata={"mapping": Scores})
    history: list[dict[str, Any]] = field(factory=list, metadata={"mapping": Scores})
    logged: list[dict[str, Any]] = field(factory=list)
    epoch_means: list[dict[str, float]] = field(factory=list, metadata={"mapping": Scores})
    best: Best | None = None
    total_steps: int = 0
    steps_per_epoch: int = 0
    interval: dict[str, float] = field(factory=dict)
    of_epoch: dict[str, float] = field(factory=dict)
    evaluated: dict[str, int] = field(factory=dict)
    handed_over: bool = field(default=False, init=False, eq=False, repr=False)

    def add_to_interval(self, step: StepResult) -> None:
        """Add one update to the sums of the log interval, and of the epoch."""
        sums, epoch = dict(self.interval), dict(self.of_epoch)
        counted: tuple[str, ...] = ("sequences", "tokens", "seconds")
        if step.skipped:  # what changed nothing is counted by itself
            sums["skipped"] = sums.get("skipped", 0.0) + 1
        # Where a gradient alone overflowed, the loss is one; without weight there is none.
        if step.weight and (not step.skipped or math.isfinite(step.loss)):
            sums["loss"] = sums.get("loss", 0.0) + step.loss * step.weight
            counted = ("weight", *counted)
        for name in counted:
            sums[name] = sums.get(name, 0.0) + getattr(step, name)
        for name, value in step.scalars.items():
            sums["last_" + name] = value
        for name, value in {"loss": step.loss, **{name: step.scalars[name] for name in step.of_loss}}.items():
            if step.weight and (not step.skipped or math.isfinite(value)):
                epoch[f"sum {name}"] = epoch.get(f"sum {name}", 0.0) + value * step.weight
                epoch[f"weight {name}"] = epoch.get(f"weight {name}", 0.0) + step.weight
        self.interval, self.of_epoch = sums, epoch

    def close_interval(self) -> dict[str, float]:
        """Return the interval's log record, and begin the next one."""
        sums, self.interval = self.interval, {}
        seconds = sums["seconds"] or math.inf
        skipped = {"skipped_steps": sums["skipped"]} if "skipped" in sums else {}
        found = {
            "loss": sums.get("loss", math.nan) / (sums.get("weight") or math.nan),
            **skipped,
            "learning_rate": self.learning_rate,
            **{name.removeprefix("last_"): value for name, value in sums.items() if name.startswith("last_")},
        }
        self.logged.append(as_read_only({"step": self.step, "epoch": self.epoch_progress, **found}))
        return {
            **found,
            "sequences_per_second": sums["sequences"] / seconds,
            "tokens_per_second": sums["tokens"] / seconds,
        }

    def tell_means(self) -> None:
        """Tell the means of the epoch so far, among the metrics and in a record of their own."""
        means = self.train_means
        self.metrics.update(means)
        self.epoch_means.append(Scores({"step": self.step, "epoch": self.epoch_progress, **means}))

    @property
    def train_means(self) -> dict[str, float]:
        """Means by weight over the rows of the present epoch so far: of the loss, and of each part of it."""
        sums = {"sum loss": math.nan, "weight loss": math.nan, **self.of_epoch}
        names = [key.removeprefix("sum ") for key in sums if key.startswith("sum ")]
        return {f"train_{name}": sums[f"sum {name}"] / sums[f"weight {name}"] for name in names}

    @property
    def epoch_progress(self) -> float:
        """Epochs done, with the part of the present one."""
        return self.epoch + (self.step_in_epoch / self.steps_per_epoch if self.steps_per_epoch else 0)

    def state_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return asdict(self, filter=lambda attribute, _: attribute.name != "handed_over")

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned.

        Raises:
            CheckpointError: A field is missing or of another type; the key is named.
        """
        before = (
            {"first_skipped": 0, "overflows": 0, "epoch_means": [], **saved} if isinstance(saved, dict) else saved
        )  # older lack these
        checked = fields_of(before, "state", self.state_dict())
        found: dict[str, Any] = {name: count(checked[name], f"state.{name}") for name in _COUNTS}
        found["learning_rate"] = number(checked["learning_rate"], "state.learning_rate")
        found |= {name: named(checked[name], f"state.{name}", number) for name in ("metrics", "interval", "of_epoch")}
        found["evaluated"] = named(checked["evaluated"], "state.evaluated", count)
        for key in ("history", "logged", "epoch_means"):
            records = enumerate(as_list(checked[key], f"state.{key}"))
            found[key] = [_record(record, f"state.{key}[{index}]") for index, record in records]
        best = checked["best"]
        found["best"] = None if best is None else built(Best, best, "state.best", metric=text, value=number, step=count)
        for name, value in found.items():
            setattr(self, name, value)


def _record(saved: Any, key: str) -> dict[str, Any]:
    """Return one record of the course: a step, and numbers by name."""
    record = named(saved, key, number)
    count(record.get("step"), f"{key}.step")
    return record
