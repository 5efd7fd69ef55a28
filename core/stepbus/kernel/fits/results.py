"""What comes out of fits: predictions, and the result of one fit or of several combined."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from attrs import define, field, frozen

from stepbus.base.guards import as_read_only, unless_handed_over
from stepbus.kernel import Best
from stepbus.kernel.fits.fit import Fit
from stepbus.kernel.fits.lineage import Lineage


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
    """

    row_ids: np.ndarray[Any, Any] = field(converter=as_read_only)
    values: np.ndarray[Any, Any] = field(converter=as_read_only)
    labels: np.ndarray[Any, Any] | None = field(default=None, converter=as_read_only)
    weights: np.ndarray[Any, Any] | None = field(default=None, converter=as_read_only)
    fold: np.ndarray[Any, Any] | None = field(default=None, converter=as_read_only)
    decided: np.ndarray[Any, Any] | None = field(default=None, converter=as_read_only)


@define(eq=False, on_setattr=unless_handed_over)
class FitResult:
    """What came out of a fit, or of several combined.

    Args:
        fit: What it was asked to do.
        status: ok, stopped, interrupted or failed.
        metrics: The final metrics, with their prefix: `eval_…` of the monitored set, `SET_…` of another one; of a
            combined result under the names that whoever combined it gave (`oof_…`).
        predictions: Predictions of the scored and the predicted sets, by set name.
        directory: Where its files lie; of a combined result the folder of the run.
        model_path: The exported model's folder, if one was written.
        best: The best evaluation.
        history: One record for each evaluation cycle.
        steps: Updates done.
        reason: Why it stopped, if it stopped early.
        traces: How often a step was traced for it: once for each shape of batches, for training and for evaluation,
            that no fit before it with the same compiled steps has seen.
        seconds: Wall time of the loop: updates, evaluations and checkpoints; tracing too.
        conditions: What its last bits depend on, see `stepbus.device.conditions`.
        disabled: The plugins that an error had switched off at its end, with the error.
        parts: What was combined, where several were.
        lineage: Every row that the weights have seen: that trained them, or by which they were chosen, in this fit or
            before it.
        selected: Set -> who decided after it was evaluated, and when; its scores are of weights that they chose.
        seen: Set -> which of its rows trained or chose the weights before the fit, or trained them in it, in words.
        handed_over: Whether plugins were given it, so that core alone may change it.
    """

    named: ClassVar[str] = "result"

    fit: Fit
    status: str = "ok"
    metrics: dict[str, float] = field(factory=dict)
    # A notebook shows what `train` returns: rows, predictions and conditions would be pages.
    predictions: dict[str, Predictions] = field(factory=dict, repr=lambda sets: f"<{', '.join(sets)}>")
    directory: Path = field(factory=Path)
    model_path: Path | None = None
    best: Best | None = None
    history: list[dict[str, Any]] = field(factory=list, repr=lambda records: f"<{len(records)} evaluations>")
    steps: int = 0
    reason: str = ""
    traces: int = 0
    seconds: float = 0.0
    conditions: dict[str, Any] = field(factory=dict, repr=False)
    disabled: dict[str, str] = field(factory=dict)
    parts: tuple[FitResult, ...] = field(default=(), repr=False)
    lineage: Lineage = field(factory=Lineage, repr=False)
    selected: dict[str, str] = field(factory=dict)
    seen: dict[str, str] = field(factory=dict)
    handed_over: bool = field(default=False, init=False, repr=False)

    @property
    def notices(self) -> list[str]:
        """What a reader of the scores must know, a sentence each; of what was combined, those of each part."""
        if self.parts:
            return [f"{part.fit.name}: {notice}" for part in self.parts for notice in part.notices]
        scored = self.fit.with_role("score")
        found = [f"{name}: selected on it, by {who}" for name, who in self.selected.items() if name in scored]
        return found + [
            f"{name}: its weights had seen {rows} before they were scored" for name, rows in self.seen.items()
        ]


def groups_along(axis: str, results: list[FitResult]) -> list[list[FitResult]]:
    """Group results that differ in one axis only, in order; those without a place on it may be among them."""
    groups: dict[tuple[tuple[str, int], ...], list[FitResult]] = {}
    for result in results:
        rest = tuple(sorted((name, place) for name, place in result.fit.scope.items() if name != axis))
        groups.setdefault(rest, []).append(result)
    return list(groups.values())
