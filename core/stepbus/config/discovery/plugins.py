"""Finding plugins by name and importing the named ones, and no others."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from attrs import evolve, frozen

from stepbus.base import (
    HOOKS_VERSION,
    PluginError,
    asks_of,
    components_of,
    did_you_mean,
    error_words,
    policy_of,
    unusable,
)
from stepbus.config.discovery.entry_points import OURS as OURS
from stepbus.config.discovery.entry_points import Entry as Entry
from stepbus.config.discovery.entry_points import entries as entries
from stepbus.config.discovery.plugin_sources import components_in, sources_in

GROUP = "stepbus.plugins"
NAME = re.compile(r"[a-z][a-z0-9_]*")


@frozen
class InstalledPlugin:
    """An entry point, unread: nothing of it has been imported.

    Args:
        name: How YAML names it.
        value: Where the class is, "module:Class".
        distribution: The package that brings it.
        version: That package's version.
        rivals: Other distributions that offer the same name, where none goes first.
        hidden: Those that a name of stepbus's own goes before; `use:` alone reaches them.
    """

    name: str
    value: str
    distribution: str
    version: str
    rivals: tuple[InstalledPlugin, ...] = ()
    hidden: tuple[InstalledPlugin, ...] = ()


@frozen
class LoadedPlugin:
    """A plugin class, imported because the configuration named it.

    Args:
        name: Its name in the configuration.
        cls: The class, an instance with hooks, or a module of hook functions.
        distribution: The package it comes from, or the file of a local one.
        version: That package's version, or nothing.
        origin: built-in, third-party or local.
    """

    name: str
    cls: Any
    distribution: str
    version: str = ""
    origin: str = "third-party"

    @property
    def label(self) -> str:
        """How messages name it: "early_stopping, stepbus 0.1.0"."""
        return f"{self.name}, {self.distribution} {self.version}".rstrip()

    @property
    def config_class(self) -> type | None:
        """The attrs class of its settings, if it has any."""
        return getattr(self.cls, "Config", None)

    @property
    def scope(self) -> str:
        """ "run" or "fit": how long an instance lives."""
        return getattr(self.cls, "scope", "fit")

    @property
    def affects_result(self) -> bool:
        """False for a plugin that only watches or saves: a resume may change it."""
        return getattr(self.cls, "affects_result", True)

    @property
    def components(self) -> list[Any]:
        """The components that the class offers."""
        return list(getattr(self.cls, "components", ()))


def installed() -> dict[str, InstalledPlugin]:
    """Return the installed plugins by name; none of them is imported. A name that stepbus has means its own."""
    found: dict[str, list[InstalledPlugin]] = {}
    for entry in entries(GROUP):
        plugin = InstalledPlugin(entry.name, entry.value, entry.distribution, entry.version)
        found.setdefault(entry.name, []).append(plugin)
    chosen = {}
    for name, offers in found.items():
        own = [plugin for plugin in offers if plugin.distribution == OURS]
        first, *rivals = own or offers
        hidden = tuple(plugin for plugin in offers if plugin not in own) if own else ()
        chosen[name] = evolve(first, rivals=tuple(rivals), hidden=hidden)
    return chosen


def offering(kind: str, name: str, among: Iterable[InstalledPlugin]) -> list[InstalledPlugin]:
    """Return the plugins whose source says that they offer a component; nothing is imported.

    Args:
        kind: The component's kind.
        name: Its name.
        among: The plugins to look at.
    """
    return [plugin for plugin in among if (kind, name) in components_in(plugin.value)]


def reading(claim: str) -> list[InstalledPlugin]:
    """Return the installed plugins whose source says that they read an ending (".ini") or a scheme ("ini:")."""
    return [plugin for plugin in installed().values() if claim in sources_in(plugin.value)]


def switch_on(plugins: Iterable[InstalledPlugin]) -> str:
    """Return what switches on one of some plugins, as a file writes it; "" for none."""
    return " or ".join(
        f"plugins: {{{plugin.name}: {{}}}} ({plugin.distribution} {plugin.version})" for plugin in plugins
    )


def load_class(name: str, use: str | None = None, base: Path | None = None) -> LoadedPlugin:
    """Import one plugin.

    Args:
        name: Its name in the configuration.
        use: "module:Class" or "./file.py:Class", for a class that no entry point names.
        base: The folder that a relative path starts from.

    Returns:
        The class and where it comes from.

    Raises:
        PluginError: It is not installed, offered twice, cannot be imported, or needs hooks that are not there.
    """
    loaded = _load(name, use, base)
    check_hooks_version(loaded.cls, loaded.label, loaded.name)
    asks_of(loaded.cls, loaded.label)
    policy_of(loaded.cls, loaded.label)
    _require_plugin(loaded, use)
    components_of(loaded.cls, loaded.label)
    return loaded


def _require_plugin(loaded: LoadedPlugin, use: str | None) -> None:
    """Look at what was named before anything calls it: `use: os:system` is no plugin."""

    cls = loaded.cls
    named = f"use: {use}" if use is not None else loaded.label
    if not inspect.isclass(cls):
        raise PluginError(
            f"{named}: expected a class with hooks or components, got something of type {type(cls).__name__}"
        )
    marked = any(hasattr(inspect.getattr_static(cls, name, None), "stepbus_impl") for name in dir(cls))
    # A hook's name without the mark is the bus's to tell: it knows the mend.
    if not marked and not getattr(cls, "components", ()) and not any(name.startswith("on_") for name in dir(cls)):
        raise PluginError(f"{named}: it has neither hooks nor components; write @hookimpl above its methods")


def _load(name: str, use: str | None, base: Path | None) -> LoadedPlugin:
    from stepbus.device import before_mlx  # noqa: F401  # a plugin may import MLX

    if not NAME.fullmatch(name):
        raise PluginError(f"expected a plugin name of small letters, digits and _, got {name!r}")
    if use is not None:
        module_name, _, attribute = use.rpartition(":")
        if not module_name or not attribute.isidentifier():
            raise PluginError(f"expected use: module:Class or ./file.py:Class, got {use!r}")
        module = import_module(module_name, base)
        distribution, version = getattr(module, "__file__", None) or module_name, ""
        return LoadedPlugin(name, _attribute(module, attribute, use), Path(distribution).name, version, "local")
    known = installed()
    if name not in known:
        raise PluginError(
            f"no installed plugin is called {name!r}{did_you_mean(name, known)}; "
            "`stepbus plugins list` shows what is installed, `use: ./file.py:Class` names a class of your own, "
            f"plugins: {{{name}: false}} does without it"
        )
    point = known[name]
    if point.rivals:
        owners = ", ".join(f"{rival.distribution} ({rival.value})" for rival in (point, *point.rivals))
        raise PluginError(f"two distributions offer {name!r}: {owners}; say which with use: {point.value}")
    module_name, _, attribute = point.value.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # a module that exits must not take the command with it
        raise PluginError(
            f"{name} ({point.distribution} {point.version}) cannot be imported: {error_words(error)}; "
            f"switch it off with plugins: {{{name}: false}}"
        ) from error
    cls = _attribute(module, attribute, point.value)
    origin = "built-in" if point.distribution == OURS else "third-party"
    return LoadedPlugin(name, cls, point.distribution, point.version, origin)


def check_hooks_version(plugin: Any, label: str, name: str) -> None:
    """Refuse a plugin that was written for hooks which are not there yet.

    Args:
        plugin: A class, an instance or a module; its `requires_hooks` is the version it was written for.
        label: How messages name it.
        name: How a configuration switches it off.

    Raises:
        PluginError: The version is no number from 1, or above this one's.
    """

    wanted = getattr(plugin, "requires_hooks", 1)
    if type(wanted) is not int or wanted < 1:
        raise PluginError(f"{label}: expected requires_hooks to be an int of at least 1, got {wanted!r}")
    if wanted > HOOKS_VERSION:
        without = f"switch the plugin off with plugins: {{{name}: false}}"
        if inspect.ismodule(plugin):
            without = "take it out of hooks:"
        elif label.endswith("(passed in Python)"):
            without = "leave it out of plugins=[…] or callbacks=[…]"
        raise PluginError(
            f"{label} needs hooks version {wanted}, this stepbus has {HOOKS_VERSION}: upgrade stepbus, or {without}"
        )


def import_module(name: str, base: Path | None = None) -> ModuleType:
    """Import a module by dotted name, or a file by its path.

    Args:
        name: "package.module", or a path that ends in .py.
        base: The folder that a relative path starts from.

    Raises:
        PluginError: There is no such file, or importing it raised.

    Example:
        >>> import_module("statistics").mean([1, 2, 6])
        3
    """
    if not name.endswith(".py"):
        if "/" in name:
            raise PluginError(f"expected a module's name, or a file that ends in .py, got {name!r}")
        try:
            return importlib.import_module(name)
        except (Exception, SystemExit) as error:
            raise PluginError(f"cannot import {name}: {error_words(error)}") from error
    reason = unusable(name, base)
    if reason is not None:
        raise PluginError(reason)
    path = ((base or Path.cwd()) / name).resolve()
    if not path.is_file():
        if path.exists():
            kind = "a folder" if path.is_dir() else "a pipe" if path.is_fifo() else "a device or socket"
            raise PluginError(f"{name}: expected a file of Python, got {kind}")
        near = did_you_mean(path.name, [other.name for other in path.parent.glob("*.py")])
        raise PluginError(f"there is no file {name}{near}; paths are relative to the YAML file")
    # The path is part of the name: two folders may each have a my_plugin.py.
    unique = f"stepbus_local_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if unique in sys.modules:
        return sys.modules[unique]
    spec = importlib.util.spec_from_file_location(unique, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[unique]
        raise PluginError(f"cannot import {name}: {error_words(error)}") from error
    return module


def _attribute(module: ModuleType, name: str, written: str) -> Any:
    try:
        return getattr(module, name)
    except AttributeError:
        near = did_you_mean(name, dir(module))
        file = Path(getattr(module, "__file__", None) or module.__name__).name
        raise PluginError(f"{written}: the module {file} has no {name!r}{near}") from None
