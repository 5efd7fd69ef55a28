"""Python values as marked trees, so that keywords and settings objects take the same way as files; and the way back."""

from __future__ import annotations

import dataclasses
import enum
import math
import os
import re
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from stepbus.base import ConfigError, Problem, Selected, yaml_float
from stepbus.base.scoring import metric_given
from stepbus.base.trees.flat_settings import FlatSettings
from stepbus.base.trees.yaml_tree import LONE_SURROGATE, MAX_DEPTH, Mark, Node

# A file behind a scheme: rows are told by what they hold, wherever they lie.
_FILE_OF_SCHEME = re.compile(r"[A-Za-z][\w+.-]+:/(?!/)")


def from_python(value: Any, mark: Mark, path: str = "", depth: int = 0) -> Node:
    """Turn Python values into a tree; of settings objects, what differs from their defaults.

    Raises:
        ConfigError: A value is nothing that YAML holds.
    """
    if depth > MAX_DEPTH:
        raise ConfigError([Problem(path, f"expected at most {MAX_DEPTH} levels of nesting, got more", mark.file)])
    if isinstance(value, Node):
        return value
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    elif (metric := metric_given(value)) is not None:
        value = metric.called()
    elif isinstance(value, Selected):
        value = {"type": value.name, **_called(value), **_given(value.settings)}
    elif attrs.has(type(value)):
        settings, value = value, _given(value)
        names = {each.alias or each.name: each.name for each in attrs.fields(type(settings)) if each.init}
        unsaid = tuple((name, getattr(settings, names[name])) for name in names if name not in value)
        mark = attrs.evolve(mark, unsaid=unsaid)
    elif isinstance(value, enum.Enum):
        value = value.value
    elif hasattr(value, "tolist") and not isinstance(value, type):
        value = value.tolist()  # a number or an array of NumPy's, columns of a frame
    if isinstance(value, FlatSettings):
        mark = attrs.evolve(mark, flat=value.section_name)
    if isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str) or key == ""), None)
        if wrong is not None:
            raise ConfigError([Problem(path, f"expected names as keys, got {wrong!r}", mark.file)])
        inner = attrs.evolve(mark, unsaid=())
        return Node(
            {key: from_python(item, inner, f"{path}.{key}".strip("."), depth + 1) for key, item in value.items()}, mark
        )
    if isinstance(value, list | tuple):
        return Node([from_python(item, mark, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)], mark)
    if value is None or type(value) in (bool, int, float):
        return Node(value, mark)
    if isinstance(value, str) and not LONE_SURROGATE.search(value):
        return Node(str(value), mark)
    got = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
    message = f"expected a number, text, true, false, None, a list or a mapping, got {got}"
    if "metrics" in path and callable(value):
        message += "; a metric of your own is a class that extends stepbus.Metric, or an instance of it"
    raise ConfigError([Problem(path, message, mark.file)])


def _called(picked: Selected) -> dict[str, str]:
    """Return the name that a metric has besides, where it was given one."""
    return {"name": picked.called} if picked.called else {}


def _given(settings: Any) -> dict[str, Any]:
    """Return the settings of an attrs object that somebody set."""
    given = {}
    for field in attrs.fields(type(settings)):
        value, default = getattr(settings, field.name), field.default
        if isinstance(default, attrs.Factory) and not default.takes_self:  # type: ignore[arg-type]
            default = default.factory()
        if field.init and value != default:
            given[field.alias or field.name] = value
    return given


def plain(value: Any, *, places: bool = True, finite: bool = False) -> Any:
    """Return settings, or any value among them, as JSON and YAML hold it; they load again as the same settings.

    Args:
        value: The value.
        places: Whether settings that only say where something lies are kept.
        finite: Whether numbers that JSON cannot write are given as the text that YAML has for them.
    """
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, Selected):
        return {"type": value.name, **_called(value), **plain(value.settings, places=places, finite=finite)}
    if attrs.has(type(value)):
        kept = [each for each in attrs.fields(type(value)) if each.init and (places or not _is_mere_place(value, each))]
        value = {each.alias or each.name: getattr(value, each.name) for each in kept}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {each.name: getattr(value, each.name) for each in dataclasses.fields(value) if each.init}
    if isinstance(value, Mapping):
        # Settings by a component's name need no type, and those that nobody set need not be said.
        named = value and all(isinstance(item, Selected) for item in value.values())
        given = {key: item.settings for key, item in value.items()} if named else value
        items = {str(plain(key)): plain(item, places=places, finite=finite) for key, item in given.items()}
        return {key: item for key, item in items.items() if item} if named else items
    if isinstance(value, list | tuple | set | frozenset | deque):
        listed = [plain(item, places=places, finite=finite) for item in value]
        return sorted(listed, key=str) if isinstance(value, set | frozenset) else listed
    if isinstance(value, float):
        return yaml_float(value) if finite and not math.isfinite(value) else float(value)
    if value is None or isinstance(value, bool):
        return value
    return int(value) if isinstance(value, int) else str(value)


def _is_mere_place(settings: Any, field: Any) -> bool:
    """Say whether a setting decides nothing: it names a place, and not which of several things lies there."""
    location, value = field.metadata.get("location"), getattr(settings, field.name)
    absolute = isinstance(value, str) and (
        Path(value).is_absolute() or (location == "rows" and _FILE_OF_SCHEME.match(value) is not None)
    )
    if field.metadata.get("by_name"):
        return True  # how rows are read: they are told by what they hold
    return bool(location) and (value is None or location == "output" or absolute)
