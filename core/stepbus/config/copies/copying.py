"""How a configuration is copied and pickled: as what was written, which is loaded again."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from stepbus.base import Problem
from stepbus.base.trees import Node


class CopiedConfig:
    """How a configuration is copied and pickled, for other processes and for `copy.deepcopy`.

    Plugins that were passed in Python go along: a copy has the same ones, a pickle classes and modules by name.

    Example:
        >>> import copy
        >>> from stepbus import load_config
        >>> copy.deepcopy(load_config({"training": {"num_epochs": 2}})).training.num_epochs
        2
    """

    __slots__ = ()
    _user: Node
    _loader: Any
    _extras: tuple[Any, ...]
    base: Path
    dropped: tuple[Problem, ...]
    of_written: Callable[..., Any]

    def __copy__(self) -> Any:
        return self.of_written(self._user, self.base, self._extras, self.dropped, self._loader)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        # A plugin object is the caller's, and stays the one that it is, as in `updated`.
        return self.of_written(copy.deepcopy(self._user, memo), self.base, self._extras, self.dropped, self._loader)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        extras = tuple(_Module(each.__name__) if isinstance(each, ModuleType) else each for each in self._extras)
        return loaded_again, (type(self), self._user, self.base, extras, self.dropped)


class _Module:
    """A module that was passed as a plugin, by its name."""

    def __init__(self, name: str) -> None:
        self.name = name


def loaded_again(cls: Any, user: Node, base: Path, extras: tuple[Any, ...], dropped: tuple[Problem, ...]) -> Any:
    """Return a configuration made anew of what a pickle has of it, by the plugins that are installed.

    Args:
        cls: Its class.
        user: What was written.
        base: The folder that the configuration came from.
        extras: What was passed in Python, modules by name.
        dropped: What was written and has no effect.

    Raises:
        ConfigError: It cannot be loaded here: a file or a plugin is missing.
    """
    found = tuple(importlib.import_module(each.name) if isinstance(each, _Module) else each for each in extras)
    return cls.of_written(user, base, found, dropped, None)
