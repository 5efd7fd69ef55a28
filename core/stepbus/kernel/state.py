"""Where a fit stands. Knows no MLX."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from attrs import asdict, define, field, frozen

from stepbus.base import as_list, built, count, fields_of, named, number, text
from stepbus.base.guards import as_read_only, unless_handed_over

_COUNTS = ("epoch", "step", "step_in_epoch", "samples_seen", "tokens_seen", "skipped", "total_steps", "steps_per_epoch")


@frozen
class StepResult:
    """One optimizer update, as host numbers.

    Args:
        loss: Mean loss over the rows of the update, by weight.
        weight: Sum of the row weights; padded rows weigh 0.
        sequences: Real rows.
        tokens: Real tokens.
        learning_rate: The rate that this update used.
        scalars: Named numbers from the compiled step (`gradient_norm`, …).
        seconds: Wall time since the update before it came home.
        skipped: Whether it changed nothing, because a loss or a gradient was no finite number.
        loss_scale: What the loss was multiplied by for it; None where it is not scaled.
    """

    loss: float
    weight: float
    sequences: int
    tokens: int
    learning_rate: float
    scalars: dict[str, float] = field(factory=dict, converter=as_read_only)
    seconds: float = 0.0
    skipped: bool = False
    loss_scale: float | None = None


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
        skipped: Updates that changed nothing, because a loss or a gradient was no finite number.
        learning_rate: The rate in use at the last update.
        metrics: The latest metrics by name (`eval_loss`, `eval_accuracy`, …).
        history: One record for each evaluation cycle: step, epoch and metrics.
        best: The best evaluation of the monitored metric.
        total_steps: Updates of the whole fit.
        steps_per_epoch: Updates of one epoch; 0 until the first has ended where nobody can count them before.
        interval: Sums since the last log record.
        evaluated: Set name -> the step that it was last evaluated at.
        handed_over: Whether plugins see it, so that core alone may change it.
    """

    named: ClassVar[str] = "state"

    epoch: int = 0
    step: int = 0
    step_in_epoch: int = 0
    samples_seen: int = 0
    tokens_seen: int = 0
    skipped: int = 0
    learning_rate: float = 0.0
    metrics: dict[str, float] = field(factory=dict)
    history: list[dict[str, Any]] = field(factory=list)
    best: Best | None = None
    total_steps: int = 0
    steps_per_epoch: int = 0
    interval: dict[str, float] = field(factory=dict)
    evaluated: dict[str, int] = field(factory=dict)
    handed_over: bool = field(default=False, init=False, eq=False, repr=False)

    def add_to_interval(self, step: StepResult) -> None:
        """Add one update to the sums of the log interval."""
        sums = dict(self.interval)
        counted: tuple[str, ...] = ("sequences", "tokens", "seconds")
        if step.skipped:  # what changed nothing is counted by itself
            sums["skipped"] = sums.get("skipped", 0.0) + 1
        if not step.skipped or math.isfinite(step.loss):  # where a gradient alone overflowed, the loss is one
            sums["loss"] = sums.get("loss", 0.0) + step.loss * step.weight
            counted = ("weight", *counted)
        for name in counted:
            sums[name] = sums.get(name, 0.0) + getattr(step, name)
        for name, value in step.scalars.items():
            sums["last_" + name] = value
        self.interval = sums

    def close_interval(self) -> dict[str, float]:
        """Return the interval's log record, and begin the next one."""
        sums, self.interval = self.interval, {}
        seconds = sums["seconds"] or math.inf
        skipped = {"skipped_steps": sums["skipped"]} if "skipped" in sums else {}
        return {
            "loss": sums.get("loss", math.nan) / (sums.get("weight") or math.nan),
            **skipped,
            "learning_rate": self.learning_rate,
            **{name.removeprefix("last_"): value for name, value in sums.items() if name.startswith("last_")},
            "sequences_per_second": sums["sequences"] / seconds,
            "tokens_per_second": sums["tokens"] / seconds,
        }

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
        checked = fields_of(saved, "state", self.state_dict())
        found: dict[str, Any] = {name: count(checked[name], f"state.{name}") for name in _COUNTS}
        found["learning_rate"] = number(checked["learning_rate"], "state.learning_rate")
        found |= {name: named(checked[name], f"state.{name}", number) for name in ("metrics", "interval")}
        found["evaluated"] = named(checked["evaluated"], "state.evaluated", count)
        found["history"] = [
            _record(record, f"state.history[{index}]")
            for index, record in enumerate(as_list(checked["history"], "state.history"))
        ]
        best = checked["best"]
        found["best"] = None if best is None else built(Best, best, "state.best", metric=text, value=number, step=count)
        for name, value in found.items():
            setattr(self, name, value)


def _record(saved: Any, key: str) -> dict[str, Any]:
    """Return one record of the history: a step, and numbers by name."""
    record = named(saved, key, number)
    count(record.get("step"), f"{key}.step")
    return record
