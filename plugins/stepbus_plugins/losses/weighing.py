"""Weights of classes and of true labels, as settings say them, for the labels that are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepbus import DataError, LossFacts, did_you_mean, listed


def class_weights(given: Any, facts: LossFacts) -> tuple[float, ...] | None:
    """Return what each class weighs, in the order of the outputs, [K]; None where all weigh 1.

    `balanced` is n / (K · n_k), as scikit-learn's `compute_class_weight` has it, of the fit's own training rows: over
    them the weights average 1.

    Args:
        given: The setting.
        facts: What is known of the labels.

    Raises:
        DataError: It does not fit the classes.
    """
    if given != "balanced":
        return _one_for_each(given, facts.classes, "loss.class_weights", "class")
    counts = _counts(facts, "loss.class_weights")
    for name, count in zip(facts.classes, counts, strict=True):
        if count == 0:
            raise DataError(
                f"loss.class_weights: expected training rows of each class to balance, got none of {name!r}; write a "
                "number for each class"
            )
    return tuple(facts.total / (len(counts) * count) for count in counts)


def positive_weights(given: Any, facts: LossFacts) -> tuple[float, ...] | None:
    """Return what a true label weighs, column by column, [K]; None where all weigh 1.

    `balanced` is the number of rows in which it is false over that in which it is true, as PyTorch's documentation of
    `pos_weight` suggests.

    Args:
        given: The setting.
        facts: What is known of the labels.

    Raises:
        DataError: It does not fit the labels.
    """
    if isinstance(given, int | float):
        return (float(given),) * facts.outputs
    if given != "balanced":
        return _one_for_each(given, facts.classes, "loss.positive_weights", "label")
    counts = _counts(facts, "loss.positive_weights")
    for name, count in zip(facts.classes, counts, strict=True):
        if not 0 < count < facts.total:
            raise DataError(
                f"loss.positive_weights: expected training rows in which each label is true and others in which it is "
                f"not, got none in which {name!r} is {'not' if count else 'true'}; write a number for each label"
            )
    return tuple((facts.total - count) / count for count in counts)


def _counts(facts: LossFacts, setting: str) -> Sequence[float]:
    if facts.counts is None:
        raise DataError(
            f"{setting}: expected numbers, because nothing says how often each is there (batches of a loader do not), "
            "got balanced; write a number for each"
        )
    return facts.counts


def _one_for_each(given: Any, names: Sequence[str], setting: str, what: str) -> tuple[float, ...] | None:
    if given is None:
        return None
    if isinstance(given, Mapping):
        for name in given:
            if name not in names:
                near = did_you_mean(name, names)
                raise DataError(f"{setting}: expected the name of a {what} ({_few(names)}), got {name!r}{near}")
        if missing := [name for name in names if name not in given]:
            raise DataError(f"{setting}: expected a number for each {what}, got none for {missing[0]!r}")
        return tuple(float(given[name]) for name in names)
    if len(given) != len(names):
        raise DataError(f"{setting}: expected {len(names)} numbers, for {_few(names)}, got {len(given)}")
    return tuple(map(float, given))


def _few(names: Sequence[str]) -> str:
    return f"{', '.join(names[:10])}, …" if len(names) > 10 else listed(names)
