"""Hooks in a part that is on no bus: nobody would call them, without a word."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

from stepbus.base import listed


def unheard_hooks(part: Any, kind: str, mend: str = "") -> str:
    """Return what is wrong with a part that has hooks and hears none; "" for one without hooks, and for a schedule.

    Args:
        part: What was built, or its class. Of a module of MLX the modules inside it are looked at as well.
        kind: What it is: head, loss, model, …
        mend: What to do about it; "" is to move the hooks into a plugin.
    """
    if kind == "scheduler":
        return ""
    inside = getattr(part, "named_modules", None)
    modules = [module for _, module in inside()] if callable(inside) and not inspect.isclass(part) else []
    found = dict.fromkeys(name for each in [part, *modules] for name in _marked(each))
    if not found:
        return ""
    hooks, them = ("hooks", "them") if len(found) > 1 else ("hook", "it")
    mend = mend or f"move {them} into a plugin class"
    why = "which nobody would call, because of all parts only a scheduler hears hooks"
    return f"it has the {hooks} {listed(found)}, {why}; {mend}"


def _marked(part: Any) -> list[str]:
    is_class = inspect.isclass(part)
    cls: Any = part if is_class else type(part)
    own = {} if is_class else getattr(part, "__dict__", {})
    return [*_of_class(cls), *(name for name, each in own.items() if _is_hook(each))]


@cache  # a model has hundreds of modules, of a dozen classes
def _of_class(cls: type) -> tuple[str, ...]:
    names = (name for name in dir(cls) if not name.startswith("__"))
    return tuple(name for name in names if _is_hook(inspect.getattr_static(cls, name, None)))


def _is_hook(value: Any) -> bool:
    return hasattr(getattr(value, "__func__", value), "stepbus_impl")
