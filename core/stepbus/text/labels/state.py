"""What a folder says of the labels, believed only where its types are right and its parts fit each other."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any, get_args

from stepbus.base import DataError, show
from stepbus.config import Task
from stepbus.text.labels.words import one_word, word_kind
from stepbus.text.rows import Kind

TASKS: tuple[str, ...] = get_args(Task)
KINDS: tuple[str, ...] = get_args(Kind)
TARGETS = ("none", "log1p")


def checked_labels(saved: Any) -> dict[str, Any]:
    """Return the saved state of labels, with the kind that older ones lack.

    Args:
        saved: What `LabelCodec.state_dict` returned, as it was read.

    Raises:
        DataError: A part is missing, of another type, or does not fit the others; the key is named.
    """
    if not isinstance(saved, Mapping):
        raise DataError(f"labels: expected a mapping, got {show(saved)}")
    task = _one_of(saved, "task", TASKS)
    columns, names = _texts(saved, "columns"), _texts(saved, "names")
    if task != "multilabel" and len(columns) != 1:
        raise DataError(f"labels.columns: expected one column for {task}, got {len(columns)}")
    if task in ("multilabel", "regression"):
        if names != columns:
            raise DataError(f"labels.names: expected the columns for {task}, got others")
        kind = _one_of(saved, "kind", KINDS) if saved.get("kind") else word_kind(names)
    else:
        kind = _one_of(saved, "kind", KINDS) if saved.get("kind") else word_kind(names)
        _check_classes(names, kind, task)
    target = _one_of(saved, "target", TARGETS)
    if target != "none" and task != "regression":
        raise DataError(f"labels.target: expected none for {task}, got {target}, which is for regression")
    mean, sd = _number(saved, "mean"), _number(saved, "sd")
    if sd <= 0:
        raise DataError(f"labels.sd: expected a number above 0, got {show(saved['sd'])}")
    found = {"columns": columns, "task": task, "target": target, "names": names, "kind": kind, "mean": mean, "sd": sd}
    return {**found, "thresholds": _thresholds(saved, task, len(names))}


def _check_classes(names: list[str], kind: Any, task: str) -> None:
    if len(names) < 2 or (task == "binary" and len(names) != 2):
        wanted = "two names" if task == "binary" else "at least two names"
        raise DataError(f"labels.names: expected {wanted} for {task}, got {len(names)}")
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(one_word(name, kind), name)
        if other is not name:
            raise DataError(f"labels.names: expected different classes, got {show(other)} and {show(name)}")


def _one_of(saved: Mapping[str, Any], key: str, known: tuple[str, ...]) -> str:
    value = saved.get(key)
    if not isinstance(value, str) or value not in known:
        raise DataError(f"labels.{key}: expected one of {', '.join(known)}, got {show(value)}")
    return value


def _texts(saved: Mapping[str, Any], key: str) -> list[str]:
    value = saved.get(key)
    if not isinstance(value, list | tuple) or not value:
        raise DataError(
            f"labels.{key}: expected a list of texts, got {'an empty list' if value in ([], ()) else show(value)}"
        )
    for item in value:
        if not isinstance(item, str):
            raise DataError(f"labels.{key}: expected a list of texts, got {show(item)} in it")
    if len(set(value)) != len(value):
        twice = next(item for item in value if value.count(item) > 1)
        raise DataError(f"labels.{key}: expected different texts, got {show(twice)} twice")
    return list(value)


def _thresholds(saved: Mapping[str, Any], task: str, labels: int) -> tuple[float, ...] | None:
    value = saved.get("thresholds")
    if value is None:
        return None
    wanted = {"binary": 1, "multilabel": labels}.get(task, 0)
    whole = isinstance(value, list | tuple) and all(isinstance(each, float) and 0 < each < 1 for each in value)
    if not whole or len(value) != wanted:
        expected = f"{wanted} numbers between 0 and 1" if wanted else "none"
        raise DataError(f"labels.thresholds: expected {expected} for {task}, got {show(value)}")
    return tuple(value)


def _number(saved: Mapping[str, Any], key: str) -> float:
    value = saved.get(key)
    # A whole number of JSON may be beyond every float.
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or abs(value) > sys.float_info.max
        or math.isnan(value)
    ):
        raise DataError(f"labels.{key}: expected a finite number, got {show(value)}")
    return float(value)
