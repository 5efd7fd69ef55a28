"""What metrics say of predictions: each is called with whole sets, and what it gives is looked at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from stepbus.base import BadInput, ConfigError, PluginFailure, Problem, StepbusError, error_words, show_python
from stepbus.base.guards import Maker, as_read_only
from stepbus.base.scoring import weights_for

if TYPE_CHECKING:
    from stepbus.kernel import Fit, FitData


# Rows that a metric is rehearsed on; of more, a part is drawn.
REHEARSED = 10_000


class CheckedMetric:
    """A metric as it is called: what it raises or gives is looked at, and names whom it comes from.

    Args:
        metric: The function of labels and predictions.
        maker: Whose it is.
        where: Which one of training.metrics it is, for messages.
    """

    def __init__(self, metric: Any, maker: Maker, where: str = "training.metrics") -> None:
        self.metric, self.maker, self.where = metric, maker, where
        self.__wrapped__ = metric  # what `inspect.signature` asks

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Return what the metric says of a whole set."""
        try:
            return self.metric(*arguments, **keywords)
        except BadInput as error:
            if (found := of_metric(error, self.where)) is None:
                raise
            raise ConfigError([found]) from error


def of_metric(error: StepbusError, where: str) -> Problem | None:
    """Return what a metric says of a setting of its own, at its place; None where it speaks of something else.

    Args:
        error: Its words begin with "training.metrics: ", for it does not know which one it is.
        where: Which one it is: "training.metrics[1]".
    """
    found = re.fullmatch(r"training\.metrics: (?:(\w+): )?(.*)", str(error), re.DOTALL)
    return None if found is None else Problem(f"{where}.{found[1]}" if found[1] else where, found[2])


def metric_values(
    metrics: Sequence[tuple[str, Any]], labels: Any, predictions: Any, weights: Any = None
) -> dict[str, float]:
    """Return every metric of predictions that are in the label's own unit, without prefix.

    Args:
        metrics: Name -> what computes it; one that gives a mapping gives several.
        labels: [N] or [N, K].
        predictions: [N, K] probabilities, or [N] values.
        weights: What each row counts, [N], for the metrics that take weights; None counts all alike, and a metric that
            must have weights gets ones.

    Raises:
        PluginFailure: A metric raised, `sys.exit` included, or gave no number, or a name that another one has.
    """
    found: dict[str, float] = {}
    labels, predictions, weights = as_read_only(labels), as_read_only(predictions), as_read_only(weights)
    for name, metric in metrics:
        provider = metric.maker.provider if isinstance(metric, CheckedMetric) else ""
        maker = Maker(f"the metric {name!r}", provider, "mend it, or leave it out of training.metrics")
        try:
            value = metric(labels, predictions, **weights_for(metric, labels, weights))
        except (KeyboardInterrupt, MemoryError, StepbusError):
            raise
        except BaseException as error:
            words = f"{maker.said} raised {error_words(error)}; {maker.mend}"
            raise PluginFailure(maker.signed(words)) from error
        for inner, score in (value if isinstance(value, dict) else {name: value}).items():
            if not isinstance(inner, str):
                raise maker.fault(f"expected texts as names of its numbers, got {show_python(inner)}")
            if inner in found or inner == "loss":
                raise maker.fault(f"expected a name of its own for its number, got {inner!r}, which is there already")
            found[inner] = _number(score, value, maker)
    return found


def rehearse(metrics: Sequence[tuple[str, Any]], data: FitData, fit: Fit) -> None:
    """Ask each metric once before the training, on real rows and made-up predictions: what it says is thrown away.

    A metric that raises or gives no number would otherwise end a run at its first evaluation, hours later.

    Args:
        metrics: Name -> what computes it.
        data: The data of a fit.
        fit: What says which of its sets is scored.

    Raises:
        PluginFailure: A metric raised, or gave no number.
    """
    if (given := _rehearsal(data, fit)) is not None:
        metric_values([pair for pair in metrics if isinstance(pair[1], CheckedMetric)], *given)


def rehearsed_numbers(metrics: Sequence[tuple[str, Any]], data: FitData, fit: Fit) -> dict[str, list[str]]:
    """Return the names of the numbers that each metric gives; of one that fails, nothing: `rehearse` says so later.

    Args:
        metrics: Name -> what computes it.
        data: The data of a fit; without labels nobody knows.
        fit: What says which of its sets is scored.
    """
    found: dict[str, list[str]] = {}
    if (given := _rehearsal(data, fit)) is None:
        return found
    for name, metric in metrics:
        with suppress(StepbusError):
            found[name] = list(metric_values([(name, metric)], *given))
    return found


def _rehearsal(data: FitData, fit: Fit) -> tuple[Any, Any, Any] | None:
    """Return real labels, made-up predictions, and weights; None where no set that is scored has labels."""
    sets = [data.sets[name] for name in fit.with_role("score") if name in data.sets]
    labels, weights = next(((rows.targets, rows.weights) for rows in sets if rows.targets is not None), (None, None))
    if labels is None or not len(labels):
        return None
    draw = np.random.default_rng(0)
    places = np.sort(draw.permutation(len(labels))[:REHEARSED])
    labels = np.asarray(labels)[places]
    weights = None if weights is None else np.asarray(weights)[places]
    if data.task in ("binary", "multiclass"):
        said = draw.uniform(0.1, 1.0, size=(len(labels), data.codec.outputs))
        said /= said.sum(axis=1, keepdims=True)
    else:
        said = draw.permutation(labels) if data.task == "regression" else draw.uniform(0.1, 0.9, size=labels.shape)
    return labels, said.astype(np.float32), weights


def _number(score: Any, value: Any, maker: Maker) -> float:
    """Return one number that a metric gave; NaN says that it is undefined on these rows."""
    if isinstance(score, Real | np.number) and not isinstance(score, bool | complex | np.complexfloating):
        return float(score)
    if isinstance(score, np.ndarray) or not hasattr(score, "shape") or score.shape != ():
        raise maker.fault(f"expected a number, or numbers by name, from it, got {show_python(value)}")
    return float(score)  # an array of the device
