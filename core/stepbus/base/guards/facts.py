"""What the metadata of a component must and may say, by its kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepbus.base import listed

TASKS: tuple[str, ...] = ("binary", "multiclass", "multilabel", "regression")


def _task(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value in TASKS)


def _tasks(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(task, str) and task in TASKS for task in value)


def _direction(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _names(value: Any) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(name, str) for name in value)


_TASKS = f"a tuple out of {', '.join(TASKS)}"
# Kind -> what its metadata must say, and how it is written.
WANTED: dict[str, dict[str, str]] = {
    "head": {"task": '"binary" (or multiclass, multilabel, regression, or None for any)'},
    "loss": {"tasks": '("binary", …)'},
    "metric": {"tasks": '("binary", …)', "greater_is_better": "True (or False, or None)"},
}
# Kind -> what its metadata may say: whether a value will do, and what is expected in words.
FACTS: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {
    "head": {"task": (_task, f"{listed(TASKS, 'or')}, or None for any")},
    "loss": {"tasks": (_tasks, _TASKS)},
    "metric": {
        "tasks": (_tasks, _TASKS),
        "default": (_tasks, _TASKS),
        "greater_is_better": (_direction, "True, False or None"),
    },
    "optimizer": {"averages": (lambda value: isinstance(value, bool), "True or False")},
    "model": {
        "from_scratch": (_names, "a tuple of settings' names"),
        "config": (callable, "a function of the settings"),
        "shapes": (callable, "a function of the settings"),
        "encoder": (callable, "a function of the settings"),
    },
}
