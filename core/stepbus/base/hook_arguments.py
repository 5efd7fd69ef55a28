"""What a hook's implementation takes, held against what the hook gives."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

from stepbus.base.errors import PluginError, did_you_mean


def check_arguments(hook: str, function: Any, found: Any, plugin: Any, label: str, known: Collection[str]) -> None:
    """Hold what an implementation takes against what its hook gives; the first argument of a method is the plugin.

    Args:
        hook: The hook's name.
        function: The implementation.
        found: The same as an attribute of the plugin: bound, if it is a method.
        plugin: An instance, a class or a module.
        label: How messages should name it.
        known: The arguments that the hook gives.

    Raises:
        PluginError: It takes another one, one with a default, or lacks the plugin itself.
    """
    parameters = list(inspect.signature(function).parameters.values())
    of_class = inspect.isclass(plugin) and inspect.isfunction(inspect.getattr_static(plugin, hook))
    if inspect.ismethod(found) or of_class:
        names = [parameter.name for parameter in parameters]
        if not names or names[0] in known:
            raise PluginError(
                f"{label}: {hook}({', '.join(names)}): expected self before what the hook gives, because it is a "
                f"method; write {hook}({', '.join(['self', *names])})"
            )
        if parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
            del parameters[0]
    for parameter in parameters:
        if parameter.name not in known:
            near = did_you_mean(parameter.name, known)
            raise PluginError(
                f"{label}: {hook} gives no argument {parameter.name!r}{near}; it gives: {', '.join(known)}"
            )
        if parameter.kind is parameter.KEYWORD_ONLY:
            raise PluginError(
                f"{label}: {hook}(*, {parameter.name}): hooks are called without keywords; take the * out"
            )
        if parameter.default is not parameter.empty:
            raise PluginError(f"{label}: {hook}({parameter.name}=…): an argument with a default would never be filled")
