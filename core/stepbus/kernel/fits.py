"""A run is a plan of fits: what each one trains on, and what came out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, field, frozen

from stepbus.kernel.state import Best

# The axes that fits can grow along, innermost first: the order in which results are combined.
AXES = ("fold", "member", "round")


@frozen(eq=False)
class Fit:
    """What one fit is about to do.

    Args:
        name: A folder name: "fit", "fold-1".
        sets: Named rows: `train`; `validation`, which is scored; `stop`, which decides when there is one.
        seed: Where its randomness starts.
        scope: Its place on each axis: {"fold": 0}.
        notice: Something a reader of its score must know ("selected on validation").
    """

    name: str
    sets: dict[str, Any] = field(repr=lambda sets: f"<{', '.join(sets)}>")
    seed: int
    scope: dict[str, int] = field(factory=dict)
    notice: str = ""

    @property
    def monitored(self) -> str | None:
        """The set that is evaluated during training, if there is one."""
        return next((name for name in ("stop", "validation") if name in self.sets), None)

    @property
    def lineage(self) -> frozenset[str]:
        """The id of every row that this fit's weights have seen, to train or to decide."""
        return frozenset(str(row) for name in ("train", "stop") if name in self.sets for row in self.sets[name].ids)


@frozen(eq=False)
class Predictions:
    """What a model says of a whole set, aligned by row id.

    Args:
        row_ids: [N].
        values: [N, K] probabilities, or [N] values in their own unit.
        labels: [N], [N, K], or None for rows without labels.
    """

    row_ids: np.ndarray[Any, Any]
    values: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any] | None = None


@define(eq=False)
class FitResult:
    """What came out of a fit, or of several combined.

    Args:
        fit: What it was asked to do.
        status: ok, stopped, interrupted or failed.
        metrics: The final metrics.
        predictions: Predictions of the scored sets, by set name.
        directory: Where its files lie.
        model_path: The exported model's folder, if one was written.
        best: The best evaluation.
        history: One record for each evaluation cycle.
        steps: Updates done.
        reason: Why it stopped, if it stopped early.
        traces: How often a step was traced: once for each shape of batches, for training and for evaluation.
        seconds: Wall time of the loop: updates, evaluations and checkpoints; tracing too.
        conditions: What its last bits depend on, see `stepbus.device.conditions`.
        disabled: The plugins that an error had switched off at its end, with the error.
    """

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


def grown_axes(fits: list[Fit]) -> list[str]:
    """Return the axes that a fit has a place on, innermost first."""
    return [axis for axis in AXES if any(axis in fit.scope for fit in fits)]


def groups_along(axis: str, results: list[FitResult]) -> list[list[FitResult]]:
    """Group results that differ in one axis only, in order; those without a place on it may be among them."""
    groups: dict[tuple[tuple[str, int], ...], list[FitResult]] = {}
    for result in results:
        rest = tuple(sorted((name, place) for name, place in result.fit.scope.items() if name != axis))
        groups.setdefault(rest, []).append(result)
    return list(groups.values())
