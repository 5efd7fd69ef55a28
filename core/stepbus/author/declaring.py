"""The settings that a class declares, as they are written in it."""

from __future__ import annotations

import typing
from typing import Any

import attrs
from attrs import frozen

from stepbus.base import words
from stepbus.base.trees import plain


@frozen
class Declared:
    """One setting of a Config class.

    Args:
        name: How YAML names it.
        hint: Its type.
        default: A plain value that YAML can hold, or attrs.NOTHING for a setting that must be given.
        meaning: What it does.
        expected: Which values its check wants, in words.
        component: The kind that it picks by name, if it does.
        many: Whether it picks several.
        by_name: Whether it holds the settings of every component of the kind, by name.
    """

    name: str
    hint: Any
    default: Any
    meaning: str
    expected: str
    component: str | None
    many: bool
    by_name: bool = False

    @property
    def type(self) -> str:
        """Its type as messages name it."""
        if self.component is None:
            return words(self.hint)
        if self.by_name:
            return f"settings by {self.component}"
        return f"list of {self.component}s by name" if self.many else f"{self.component} by name"


def declared(cls: Any) -> list[Declared]:
    """Return the settings of a Config class, in order; none for a class that is no attrs class."""
    if not (isinstance(cls, type) and attrs.has(cls)):
        return []
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception:  # a name that cannot be looked up; `plugins doctor` says so
        hints = {}
    found = []
    for field in attrs.fields(cls):
        if field.init:
            about = field.metadata
            found.append(
                Declared(
                    field.alias or field.name,
                    hints.get(field.name, field.type if isinstance(field.type, type) else Any),
                    default_of(field),
                    " ".join(str(about.get("meaning") or "").split()),
                    str(about.get("expected") or ""),
                    about.get("component"),
                    bool(about.get("many")),
                    bool(about.get("by_name")),
                )
            )
    return found


def default_of(field: Any) -> Any:
    """Return the default of an attrs field as a plain value, or attrs.NOTHING."""
    default = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # attrs types it as a function
        if default.takes_self:
            return attrs.NOTHING
        default = default.factory()
    return default if default is attrs.NOTHING else plain(default, finite=True)
