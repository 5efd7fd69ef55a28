"""What a plugin's class says of itself, and promises of the functions that its hooks give."""

from __future__ import annotations

import inspect
from typing import Any

from stepbus.base import PluginError, show_python


def said_by(plugin: Any, name: str, label: str) -> bool:
    """Return what a plugin says of itself by an attribute that is true or false; False where it says nothing.

    Args:
        plugin: A class, an instance, or a module of hook functions.
        name: The attribute.
        label: How messages name it.

    Raises:
        PluginError: It is something else than true or false.
    """
    found = getattr(plugin, name, False)
    if not isinstance(found, bool):
        raise PluginError(f"{label}: expected {name} = True or {name} = False, got {show_python(found)}")
    return found


def keeps_finite_of(plugin: Any, label: str) -> bool:
    """Return whether what `transform_gradients` gives makes finite gradients of finite ones: `keeps_finite = True`.

    A class that overrides the hook of one above it does not inherit that one's promise.

    Args:
        plugin: A class, an instance, or a module of hook functions.
        label: How messages name it.

    Raises:
        PluginError: `keeps_finite` is something else than true or false.
    """
    found = said_by(plugin, "keeps_finite", label)
    if inspect.ismodule(plugin):
        return found
    cls = plugin if inspect.isclass(plugin) else type(plugin)
    named = [name for each in cls.__mro__ for name in ("keeps_finite", "transform_gradients") if name in vars(each)]
    return found and named[:1] == ["keeps_finite"]
