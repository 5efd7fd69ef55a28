"""Typed settings: how a Config class declares them, and how messages name types and values."""

from __future__ import annotations

import enum
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

Location = Literal["file", "source", "rows", "output", "code"]


def setting(
    default: Any = attrs.NOTHING,
    meaning: str = "",
    *,
    factory: Callable[[], Any] | None = None,
    check: Callable[[Any], bool] | None = None,
    expected: str = "",
    location: Location | None = None,
) -> Any:
    """Declare one setting of a Config class.

    Args:
        default: Its value when the file is silent; none makes it required.
        meaning: What it does, in a few words with units; printed by `plugins show` and the schema.
        factory: Called for a mutable default.
        check: Returns False for a value that is impossible whatever the other settings say; never asked about None.
        expected: What `check` wants, as words ("a number above 0").
        location: The text names a place: "file", a path relative to the file that holds the setting, or "source",
            which may also be a hub or package name, or "rows", a file of rows or what a reader takes (`sqlite:FILE`),
            or "output", which starts from the working directory, or "code", a function as ./file.py:function or
            module:function (other texts name none). A folder that is opened may name none of these unless it is
            trusted.

    Returns:
        An attrs field.

    Example:
        >>> from attrs import define
        >>> @define(frozen=True, kw_only=True)
        ... class Config:  # of a plugin class
        ...     every: int = setting(10, "updates between two lines", check=lambda n: n >= 1, expected="at least 1")
        >>> Config().every
        10
    """
    metadata = {"meaning": meaning, "check": check, "expected": expected, "location": location}
    if factory is not None:
        return attrs.field(factory=factory, metadata=metadata)
    return attrs.field(default=default, metadata=metadata)


def component(kind: str, default: Any = attrs.NOTHING, meaning: str = "") -> Any:
    """Declare a setting that picks a component of one kind, by name or as a mapping with `type:`.

    Args:
        kind: The component's kind, such as "pooling".
        default: The name picked when the file is silent, or None.
        meaning: What it does, in a few words.

    Returns:
        An attrs field; after structuring it holds a `stepbus.Selected` (or None).

    Example:
        >>> from attrs import define
        >>> @define(frozen=True, kw_only=True)
        ... class Config:
        ...     pooling: Selected = component("pooling", "mean", "how token vectors become one vector")
        >>> Config().pooling
        'mean'
    """
    return attrs.field(default=default, metadata={"meaning": meaning, "component": kind})


def words(hint: Any) -> str:
    """Return a type as messages name it."""
    simple = {int: "int", float: "number", bool: "true or false", str: "text", type(None): "null", None: "null"}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is None and isinstance(hint, type | None) and hint in simple:
        return simple[hint]
    if origin in (typing.Union, types.UnionType):
        return " or ".join(words(member) for member in arguments)
    if origin is Literal:
        return f"one of {', '.join(show(choice) for choice in arguments)}"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return f"one of {', '.join(show(choice.value) for choice in hint)}"
    if hint is Any or hint is object:
        return "anything"
    kind = origin or hint
    if isinstance(kind, type) and (attrs.has(kind) or issubclass(kind, Mapping)):
        return "a mapping"
    if kind in (list, tuple, set, frozenset):
        inner = [words(argument) for argument in arguments if argument is not Ellipsis]
        return f"a list of {inner[0]}" if inner and len(set(inner)) == 1 else "a list"
    return "a path" if getattr(kind, "__name__", "") == "Path" else str(getattr(kind, "__name__", kind))


def show(value: Any) -> str:
    """Return a value as messages name it, as YAML writes it and never long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return yaml_float(value) if isinstance(value, float) else _shown(value)


def show_python(value: Any) -> str:
    """Return a value that code gave as messages name it to its author, as Python writes it and never long."""
    return repr(float(value)) if isinstance(value, float) else _shown(value)


def _shown(value: Any) -> str:
    """Return a collection by its kind, and anything else as Python writes it, on one line that is never long."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    try:
        text = " ".join(map(str.strip, repr(value).split("\n")))  # an array has lines, and a message is one
    except Exception:  # an array of a compiled step has no values yet
        return f"an array {list(value.shape)}" if hasattr(value, "shape") else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:56]} …{text[-1]}"


def yaml_float(value: float) -> str:
    """Return a float as YAML writes it, shortly: 2e-5, .inf, .nan."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return re.sub(r"e([-+])0+(?=\d)", r"e\1", repr(value))
