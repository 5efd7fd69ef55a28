"""Settings of the metrics."""

from __future__ import annotations

from typing import Literal

from attrs import define

from stepbus import setting


@define(frozen=True, kw_only=True)
class ValueConfig:
    """A metric of values; it has no settings."""


@define(frozen=True, kw_only=True)
class DecisionConfig:
    """A metric of decisions: the most probable class, or every label that is probable enough."""

    threshold: float = setting(
        0.5,
        "probability from which a row has a label, in a multilabel task",
        check=lambda value: 0 < value < 1,
        expected="a number between 0 and 1",
    )


@define(frozen=True, kw_only=True)
class AveragedConfig(DecisionConfig):
    """Precision, recall or F1, over one class or averaged over all."""

    average: Literal["auto", "binary", "macro", "micro", "weighted"] = setting(
        "auto",
        "auto is binary (of the second class) for a binary task, else macro; a class that nobody predicts counts as 0",
    )


@define(frozen=True, kw_only=True)
class RankConfig:
    """The area under a curve, of the second class of a binary task, or of each class against the rest."""

    average: Literal["macro", "micro", "weighted"] = setting(
        "macro", "how classes are averaged; one that the set lacks is left out"
    )
