"""Settings of the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from attrs import define

from stepbus import is_threshold, setting, threshold_problem

ORDER = "the classes from the lowest to the highest; none takes numbers by their value"


@define(frozen=True, kw_only=True)
class ValueConfig:
    """A metric of values; it has no settings."""


@define(frozen=True, kw_only=True)
class DecisionConfig:
    """A metric of decisions: the most probable class, a second class or every label that is probable enough."""

    threshold: float | list[float] | dict[str, float] | None = setting(
        None,
        "probability from which a row has a label of a multilabel task, or is of the second class of a binary one: a "
        "number, one for each label in a list, or by name; none takes data.threshold",
        check=is_threshold,
        expected="numbers between 0 and 1",
    )


@define(frozen=True, kw_only=True)
class ClassConfig(DecisionConfig):
    """A metric of decisions where each row has one class."""

    threshold: float | list[float] | dict[str, float] | None = setting(
        None,
        "probability from which a row is of the second class of a binary task; none takes data.threshold",
        check=is_threshold,
        expected="numbers between 0 and 1",
    )


@define(frozen=True, kw_only=True)
class AveragedConfig(DecisionConfig):
    """Precision, recall or F1, over one class or averaged over all."""

    average: Literal["auto", "binary", "macro", "micro", "weighted"] = setting(
        "auto",
        "auto is binary (of the second class) for a binary task, else macro; a class that nobody predicts counts as 0",
    )


@define(frozen=True, kw_only=True)
class OrderConfig:
    """A metric of classes that lie in an order."""

    order: list[str] | None = setting(None, ORDER)


@define(frozen=True, kw_only=True)
class KappaConfig(ClassConfig):
    """Cohen's kappa."""

    weights: Literal["none", "linear", "quadratic"] = setting(
        "none", "what an error counts: 1, or how many places of the order of the classes it is off, or their square"
    )
    order: list[str] | None = setting(None, ORDER)


@define(frozen=True, kw_only=True)
class RankConfig:
    """The area under a curve, of the second class of a binary task, or of each class against the rest."""

    average: Literal["macro", "micro", "weighted"] = setting(
        "macro", "how more than two classes, or labels, are averaged; one that the set lacks is left out"
    )


@define(frozen=True, kw_only=True)
class QuantileConfig:
    """Pinball loss; `loss: {type: quantile, quantile: …}` trains for it."""

    quantile: float = setting(
        0.5,
        "which quantile of the target is predicted: an error upwards costs 1 - quantile, one downwards quantile",
        check=lambda value: 0 < value < 1,
        expected="a number between 0 and 1",
    )


@define(frozen=True, kw_only=True)
class TopConfig:
    """Whether the class is among the most probable ones."""

    k: int = setting(
        2, "how many of the most probable classes count", check=lambda value: value >= 1, expected="at least 1"
    )


@define(frozen=True, kw_only=True)
class CalibrationConfig:
    """The expected calibration error."""

    bins: int = setting(
        15,
        "bins of equal width between 0 and 1, of the probability of the second class of a binary task, of that of the "
        "predicted class of more, and of each label's of a multilabel one",
        check=lambda value: value >= 1,
        expected="at least 1",
    )


def meaningless(name: str, settings: object, task: str, names: Sequence[str] | None = None) -> list[tuple[str, str]]:
    """Return the settings of a metric that mean nothing for a task, as (setting, message).

    Args:
        name: The metric.
        settings: Its settings.
        task: binary, multiclass or multilabel.
        names: The classes or labels; none where nobody knows them.
    """
    found = []
    if isinstance(settings, DecisionConfig) and settings.threshold is not None:
        found += [("threshold", words) for words in [threshold_problem(settings.threshold, task, names)] if words]
    if isinstance(settings, RankConfig) and task == "binary" and settings.average != "macro":
        message = f"expected none for two classes, where {name} is that of the second"
        found.append(("average", f"{message}, got {settings.average!r}; leave it out"))
    if isinstance(settings, AveragedConfig) and task != "binary" and settings.average == "binary":
        kind = "labels" if task == "multilabel" else "more than two classes"
        found.append(("average", f"expected auto, macro, micro or weighted for {kind}, got 'binary'"))
    if isinstance(settings, KappaConfig) and task == "binary" and settings.weights != "none":
        message = "expected none for two classes, where all errors count alike"
        found.append(("weights", f"{message}, got {settings.weights!r}; leave it out"))
    if isinstance(settings, KappaConfig) and settings.weights == "none" and settings.order is not None:
        found.append(("order", "expected weights: linear or quadratic with an order, got none; leave it out"))
    if isinstance(settings, TopConfig) and names and settings.k >= len(names):
        found.append(("k", f"expected fewer than the {len(names)} classes, all of which are right, got {settings.k}"))
    return found
