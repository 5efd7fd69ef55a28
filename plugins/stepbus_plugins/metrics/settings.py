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
    """A metric of decisions: the most probable class, a second class or every label that is probable enough."""

    threshold: float = setting(
        0.5,
        "probability from which a row has a label of a multilabel task, or is of the second class of a binary one",
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
        "macro", "how more than two classes, or labels, are averaged; one that the set lacks is left out"
    )


def meaningless(name: str, settings: object, task: str) -> list[tuple[str, str]]:
    """Return the settings of a metric that mean nothing for a task, as (setting, message).

    Args:
        name: The metric.
        settings: Its settings.
        task: binary, multiclass or multilabel.
    """
    found = []
    if isinstance(settings, DecisionConfig) and task == "multiclass" and settings.threshold != 0.5:
        message = "expected none for more than two classes, where the most probable one counts"
        found.append(("threshold", f"{message}, got {settings.threshold:g}; leave it out"))
    if isinstance(settings, RankConfig) and task == "binary" and settings.average != "macro":
        message = f"expected none for two classes, where {name} is that of the second"
        found.append(("average", f"{message}, got {settings.average!r}; leave it out"))
    if isinstance(settings, AveragedConfig) and task != "binary" and settings.average == "binary":
        kind = "labels" if task == "multilabel" else "more than two classes"
        found.append(("average", f"expected auto, macro, micro or weighted for {kind}, got 'binary'"))
    return found
