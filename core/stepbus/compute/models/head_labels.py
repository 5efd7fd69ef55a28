"""What the outputs of a trained head stand for, and a head that is taken over by the names of its labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    pass

PROBLEM_TYPES = {
    "binary": "single_label_classification",
    "multiclass": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
UNNAMED = re.compile(r"LABEL_\d+")
IN_UNITS = {"mean": 0.0, "sd": 1.0, "transform": "none"}
WRITTEN_BY_STEPBUS = "Stepbus"


@frozen
class HeadMeaning:
    """What the outputs of a trained head stand for.

    Args:
        names: The label of each output, in order; None where the file gives them no names.
        problem: Hugging Face's problem_type, or None where the file does not say.
        target: How a regression's output becomes the target's unit: mean, sd and transform.
        other: Why the head is none for this model whatever its labels are, or None.
    """

    names: tuple[str, ...] | None = None
    problem: str | None = None
    target: Mapping[str, Any] | None = None
    other: str | None = None


def label_keys(names: list[str]) -> dict[str, Any]:
    """Return the keys of config.json that name the outputs, in the order of the logits."""
    return {
        "id2label": {str(index): name for index, name in enumerate(names)},
        "label2id": {name: index for index, name in enumerate(names)},
    }


def keys_of(names: list[str], *, own: bool) -> dict[str, Any]:
    """Return the keys of config.json that name the outputs.

    Args:
        names: The labels, in the order of the logits.
        own: Whether Hugging Face's classifier of the family computes them. Else it is told of no outputs: it then
            refuses the head's shape, in place of computing something random with it.
    """
    return label_keys(names) if own else {**label_keys([]), "stepbus_labels": list(names)}


def meaning_in(config: Mapping[str, Any], pooling: str, *, own: bool) -> HeadMeaning:
    """Return what a model folder says about its head.

    Args:
        config: Its config.json.
        pooling: The pooling that the head shall stand on here.
        own: Whether it is the one that Hugging Face's classifiers of the family have.
    """
    names = config.get("stepbus_labels") or _in_order(config.get("id2label")) or _inverted(config.get("label2id"))
    words = None if names is None else tuple(str(name).strip() for name in names)
    if words is not None and all(UNNAMED.fullmatch(word) for word in words):
        words = None
    return HeadMeaning(words, config.get("problem_type"), config.get("stepbus_target"), _other(config, pooling, own))


def _in_order(names: Any) -> list[Any] | None:
    """Return the names of a mapping from 0, 1, … in this order, or None where it is none."""
    if not isinstance(names, Mapping):
        return None
    by_number = {str(number): name for number, name in names.items()}
    ordered = [by_number.get(str(number)) for number in range(len(by_number))]
    return None if None in ordered or not ordered else ordered


def _inverted(numbers: Any) -> list[Any] | None:
    return _in_order({number: name for name, number in numbers.items()}) if isinstance(numbers, Mapping) else None


def _other(config: Mapping[str, Any], pooling: str, own: bool) -> str | None:
    """Return why a folder's head is not the one that this model wants: another task, or another pooling."""
    listed = config.get("architectures")
    architecture = str(listed[0]) if isinstance(listed, list) and listed else ""
    if "For" in architecture and not architecture.endswith("ForSequenceClassification"):
        return f"the file's is that of {architecture}"
    stands_on = config.get("stepbus_pooling")
    if stands_on is None and "For" in architecture and not architecture.startswith(WRITTEN_BY_STEPBUS):
        stands_on = pooling if own else "cls"
    if stands_on is not None and stands_on != pooling:
        return f"the file's stands on {stands_on} pooling, and model.pooling is {pooling}"
    return None
