"""A run is a plan of fits: what each one trains on, and what came out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from attrs import define, evolve, field, frozen

from stepbus.base import DataError
from stepbus.base.guards import as_read_only, unless_handed_over
from stepbus.kernel.lineage import Lineage
from stepbus.kernel.state import Best

# The axes that fits can grow along, innermost first: the order in which results are combined.
AXES = ("fold", "repeat", "member", "round", "trial")


@frozen
class Axis:
    """A direction that a plan grows in: the folds of a cross-validation, the members of an ensemble.

    A plugin that grows a plan says so in its class: `grows = (Axis("fold"),)`.

    Args:
        name: The axis; fold, repeat, member, round and trial are known, innermost first.
        combined_by: The plugin, by its name in the configuration, that combines what lies along it; "" is the one that
            grows it.
        after: The axis that a new one comes after, which is combined before it.
    """

    name: str
    combined_by: str = ""
    after: str = ""


@frozen(eq=False)
class Fit:
    """What one fit is about to do.

    Args:
        name: A folder name: "fit", "fold-1".
        sets: Named rows: `train`; `validation`, which is scored; `stop`, which decides when there is one; `test`,
            which is predicted.
        seed: Where its randomness starts.
        scope: Its place on each axis: {"fold": 0}.
        notice: Something a reader of its score must know ("selected on validation").
        roles: Set name -> its roles, of train, stop, score and predict; where a set is not in it, its name says them.
        overrides: Setting -> value, where this fit differs from the configuration: {"optimizer.learning_rate": 1e-5}.
        starts_from: The fit whose weights it starts with, by name, or the folder of a model; "" takes what
            the configuration says.
        after: The fits, by name, whose results it needs.
        auxiliary: Whether it serves another purpose than the run's predictions and is combined with no other.
    """

    name: str
    sets: dict[str, Any] = field(repr=lambda sets: f"<{', '.join(sets)}>")
    seed: int
    scope: dict[str, int] = field(factory=dict)
    notice: str = ""
    roles: Mapping[str, tuple[str, ...]] = field(factory=dict)
    overrides: Mapping[str, Any] = field(factory=dict)
    starts_from: str = ""
    after: tuple[str, ...] = ()
    auxiliary: bool = False

    def seal(self) -> None:
        """Make its mappings ones that core alone changes: it is planned, and plugins are about to be given it."""
        for name in ("sets", "scope", "roles", "overrides"):
            object.__setattr__(self, name, as_read_only(getattr(self, name)))

    def roles_of(self, name: str) -> tuple[str, ...]:
        """Return what a set is for: train, stop, score, predict.

        Args:
            name: The set.
        """
        if name in self.roles:
            return self.roles[name]
        if name == "validation":
            return ("score",) if self._decided_elsewhere else ("stop", "score")
        return {"train": ("train",), "stop": ("stop",), "test": ("predict",)}.get(name, ("score",))

    def with_role(self, role: str) -> list[str]:
        """Return the names of the sets that have a role, in order."""
        return [name for name in self.sets if role in self.roles_of(name)]

    def is_labelled(self, name: str) -> bool:
        """Return whether the labels of a set are read: those of one that is only predicted are not."""
        return set(self.roles_of(name)) != {"predict"}

    @property
    def _decided_elsewhere(self) -> bool:
        """Whether another set than `validation` decides."""
        return any(name != "validation" and "stop" in self.roles.get(name, (name,)) for name in self.sets)

    @property
    def monitored(self) -> str | None:
        """The set that is evaluated during training, if there is one."""
        return next(iter(self.with_role("stop")), None)


@frozen(eq=False)
class Predictions:
    """What a model says of a whole set, aligned by row id; its arrays are read-only.

    Args:
        row_ids: [N].
        values: [N, K] probabilities, or [N] values in their own unit.
        labels: [N], [N, K], or None for rows without labels.
        weights: What each row counts, [N]; None counts all alike.
        fold: Where several were put together, the place of the fit that each row is from, int [N]; None of one fit.
    """

    row_ids: np.ndarray[Any, Any] = field(converter=as_read_only)
    values: np.ndarray[Any, Any] = field(converter=as_read_only)
    labels: np.ndarray[Any, Any] | None = field(default=None, converter=as_read_only)
    weights: np.ndarray[Any, Any] | None = field(default=None, converter=as_read_only)
    fold: np.ndarray[Any, Any] | None = field(default=None, converter=as_read_only)


def mean_predictions(predictions: Sequence[Predictions]) -> Predictions:
    """Return the mean of what several models say of the same rows, added up in their order in double precision.

    Args:
        predictions: One for each model.

    Raises:
        DataError: They are of other rows, or of other outputs.
    """
    first = predictions[0]
    total = np.zeros(first.values.shape, np.float64)
    for each in predictions:
        if each.values.shape != total.shape or each.row_ids.tolist() != first.row_ids.tolist():
            raise DataError(
                f"expected predictions of the same {len(first.row_ids)} rows with as many outputs to take their mean, "
                f"got arrays of {list(total.shape)} and {list(each.values.shape)}, or other row ids"
            )
        total += each.values
    return evolve(first, values=(total / len(predictions)).astype(first.values.dtype), fold=None)


@define(eq=False, on_setattr=unless_handed_over)
class FitResult:
    """What came out of a fit, or of several combined.

    Args:
        fit: What it was asked to do.
        status: ok, stopped, interrupted or failed.
        metrics: The final metrics.
        predictions: Predictions of the scored and the predicted sets, by set name.
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


def grown_axes(fits: Iterable[Fit], order: Sequence[str] = AXES) -> list[str]:
    """Return the axes that a fit has a place on, innermost first; auxiliary fits have none.

    Args:
        fits: The fits.
        order: The axes that are known, innermost first.
    """
    grown = dict.fromkeys(axis for fit in fits if not fit.auxiliary for axis in fit.scope)
    return [axis for axis in order if axis in grown] + [axis for axis in grown if axis not in order]


def groups_along(axis: str, results: list[FitResult]) -> list[list[FitResult]]:
    """Group results that differ in one axis only, in order; those without a place on it may be among them."""
    groups: dict[tuple[tuple[str, int], ...], list[FitResult]] = {}
    for result in results:
        rest = tuple(sorted((name, place) for name, place in result.fit.scope.items() if name != axis))
        groups.setdefault(rest, []).append(result)
    return list(groups.values())
