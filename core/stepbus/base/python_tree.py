"""Python values as marked trees: keywords, mappings and settings objects take the same way as files."""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from typing import Any

import attrs

from stepbus.base.components import Selected
from stepbus.base.errors import ConfigError, Problem
from stepbus.base.yaml_tree import LONE_SURROGATE, MAX_DEPTH, Mark, Node


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
    elif isinstance(value, Selected):
        value = {"type": value.name, **_given(value.settings)}
    elif attrs.has(type(value)):
        value = _given(value)
    elif isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str) or key == ""), None)
        if wrong is not None:
            raise ConfigError([Problem(path, f"expected names as keys, got {wrong!r}", mark.file)])
        return Node(
            {key: from_python(item, mark, f"{path}.{key}".strip("."), depth + 1) for key, item in value.items()}, mark
        )
    if isinstance(value, list | tuple):
        return Node([from_python(item, mark, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)], mark)
    if value is None or type(value) in (bool, int, float):
        return Node(value, mark)
    if isinstance(value, str) and not LONE_SURROGATE.search(value):
        return Node(str(value), mark)
    message = f"expected a number, text, true, false, None, a list or a mapping, got {type(value).__name__}"
    raise ConfigError([Problem(path, message, mark.file)])


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
