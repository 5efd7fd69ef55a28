"""What comes out of fits: predictions, and the result of one fit or of several combined."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from attrs import define, field, frozen

from stepbus.base.guards import Scores, as_read_only, unless_handed_over
from stepbus.kernel import Best
from stepbus.kernel.fits.fit import Fit
from stepbus.kernel.fits.lineage import Lineage
from stepbus.kernel.fits.showing import Shown
from stepbus.storage import TableFiles


@frozen(eq=False)
class Predictions:
    """What a model says of a whole set, aligned by row id; its arrays are read-only.

    Args:
        row_ids: [N].
        values: [N, K] probabilities, or [N] values in their own unit.
        labels: [N], [N, K], or None for rows without labels.
        weights: What each row counts, [N]; None counts all alike.
        fold: Where several were put together, the place of the fit that each row is from, int [N]; None of one fit.
        decided: Class numbers [N], or 0/1 [N, K] of several labels, where a plugin decided (`finish_predictions`); None
            leaves it to the greatest probability, or to 0.5.

    Example:
        >>> predictions = trainer.result.predictions["validation"]  # Predictions
        >>> predictions.row_ids[:3], predictions.labels[:3], predictions.values.shape
        (array([0, 1, 2]), array([0, 1, 0], dtype=int32), (16, 2))
    """

    row_ids: np.ndarray[Any, Any] = field(converter=as_read_only)
    values: np.ndarray[Any, Any] = field(converter=as_read_only)
    labels: np.ndarray[Any, Any] | None = field(default=None, converter=as_read_only)
    weights: np.ndarray[Any, Any] | None = field(default=None, converter=as_read_only)
    fold: np.ndarray[Any, Any] | None = field(default=None, converter=as_read_only)
    decided: np.ndarray[Any, Any] | None = field(default=None, converter=as_read_only)


@define(eq=False, repr=False, on_setattr=unless_handed_over)
class FitResult(Shown):
    """What came out of a fit, or of several combined; `print` shows it in six lines, a notebook as a table.

    Args:
        fit: What it was asked to do.
        status: ok, stopped, interrupted or failed.
        metrics: The final metrics, with their prefix: `eval_…` of the monitored set, `SET_…` of another one; of a
            combined result under the names that whoever combined it gave (`oof_…`).
        predictions: Predictions of the scored and the predicted sets, by set name.
        directory: Where its files lie; of a combined result the folder of the run.
        model_path: The exported model's folder, if one was written.
        best: The best evaluation of those in `history`; the scores of a fit that ended between two are of none.
        history: One record for each evaluation cycle; `frame()` has them with what was logged.
        steps: Updates done.
        reason: Why it stopped, if it stopped early.
        traces: How often a step was traced for it: once for each shape of batches, for training and for evaluation,
            that no fit before it with the same compiled steps has seen.
        seconds: Wall time of the loop: updates, evaluations and checkpoints; tracing too. Of a combined result the sum.
        times: The same by what the loop was at: `updates`, waiting for `data` and for `checkpoints`, `evaluations`,
            plugins' `hooks`, and the `rest`.
        resumed_at: The step that the fit was resumed at, from which `seconds` and `times` count, because the clock is
            that of one process; 0 where it was not. Of a combined result the sum, so that `steps - resumed_at` are the
            updates of `seconds`.
        conditions: What its last bits depend on, see `stepbus.device.conditions`.
        disabled: The plugins that an error had switched off at its end, with the error.
        parts: What was combined, where several were.
        lineage: Every row that the weights have seen: that trained them, or by which they were chosen, in this fit or
            before it.
        selected: Set -> who decided after it was evaluated, and when; its scores are of weights that they chose.
        seen: Set -> which of its rows trained or chose the weights before the fit, or trained them in it, in words.
        logged: One record for each log interval: step, epoch, mean loss, rate, and the numbers of the compiled step.
        epoch_means: One record for each epoch, and for the part of one that the fit ended in: step, epoch and the means
            over its rows, `train_loss` and `train_NAME` of each part of the loss.
        unmet: What a resumed run asked of it and it did not do, with what to do; a sentence.
        skipped: Updates that changed nothing, because a loss, a gradient or a new weight was no finite number.
        first_skipped: The first of them; 0 where there is none, or it is not known.
        next_command: What to type next, of a run's result.
        handed_over: Whether plugins were given it, so that core alone may change it.

    Example:
        >>> result = trainer.result  # a FitResult, as `train` returns it
        >>> result.status, result.steps, result.metrics["eval_accuracy"], result.best.step
        ('ok', 48, 1.0, 48)
    """

    named: ClassVar[str] = "result"

    fit: Fit
    status: str = "ok"
    metrics: dict[str, float] = field(factory=dict, metadata={"mapping": Scores})
    predictions: dict[str, Predictions] = field(factory=dict)
    directory: Path = field(factory=Path)
    model_path: Path | None = None
    best: Best | None = None
    history: list[dict[str, Any]] = field(factory=list, metadata={"mapping": Scores})
    steps: int = 0
    reason: str = ""
    traces: int = 0
    seconds: float = 0.0
    times: dict[str, float] = field(factory=dict, kw_only=True)
    resumed_at: int = field(default=0, kw_only=True)
    conditions: dict[str, Any] = field(factory=dict)
    disabled: dict[str, str] = field(factory=dict)
    parts: tuple[FitResult, ...] = field(default=())
    lineage: Lineage = field(factory=Lineage)
    selected: dict[str, str] = field(factory=dict)
    seen: dict[str, str] = field(factory=dict)
    logged: list[dict[str, Any]] = field(factory=list)
    epoch_means: list[dict[str, float]] = field(factory=list, kw_only=True, metadata={"mapping": Scores})
    unmet: str = ""
    skipped: int = field(default=0, kw_only=True)
    first_skipped: int = field(default=0, kw_only=True)
    next_command: str = ""
    handed_over: bool = field(default=False, init=False)

    @property
    def tables(self) -> TableFiles:
        """The tables that were written beside it, by name: `result.tables["per_class"]` is a frame."""
        none = self.directory == Path()
        return TableFiles([] if none else [self.directory, self.directory / "fits" / self.fit.name])


TrainingResult = FitResult  # the name that the original's `train` gives it


def groups_along(axis: str, results: list[FitResult]) -> list[list[FitResult]]:
    """Group results that differ in one axis only, in order; those without a place on it may be among them."""
    groups: dict[tuple[tuple[str, int], ...], list[FitResult]] = {}
    for result in results:
        rest = tuple(sorted((name, place) for name, place in result.fit.scope.items() if name != axis))
        groups.setdefault(rest, []).append(result)
    return list(groups.values())


def with_parts(whole: FitResult, parts: Sequence[FitResult]) -> FitResult:
    """Return a combined result: its weights have seen whatever those of its parts have, and its times are their sums.

    Args:
        whole: What was made of them.
        parts: The results that were combined.
    """
    for part in parts:
        whole.lineage |= part.lineage
        whole.selected = {**part.selected, **whole.selected}
        whole.seen = {**part.seen, **whole.seen}
    if not whole.seconds and not whole.times:  # who combined them may know better
        whole.seconds, whole.resumed_at = sum(part.seconds for part in parts), sum(part.resumed_at for part in parts)
        names = dict.fromkeys(name for part in parts for name in part.times)
        whole.times = {name: sum(part.times.get(name, 0.0) for part in parts) for name in names}
    whole.parts = tuple(parts)
    return whole
