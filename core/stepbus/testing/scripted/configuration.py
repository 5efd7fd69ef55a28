"""The configuration of a scripted run: plugins with their settings, and sections whose components are scripted."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stepbus.base import Component, Components, ConfigError, PluginError, Problem, Selected, snake_case
from stepbus.base.trees import Given, Mark, collecting, from_python, make_settings
from stepbus.config import BASES, Config, Suggestions, choice
from stepbus.config.discovery import LoadedPlugin


def scripted_config(
    plugins: Sequence[Any], training: Mapping[str, Any], data: Mapping[str, Any], folder: Path
) -> tuple[Config, tuple[Any, ...]]:
    """Return a configuration that switches plugins on, and those that can only be passed in Python.

    Args:
        plugins: What `play` takes.
        training: Settings of the section.
        data: Settings of the section.
        folder: The folder of the run.
    """
    pairs = [each if isinstance(each, tuple) else (each, {}) for each in plugins]
    if wrong := [pair for pair in pairs if len(pair) != 2]:
        raise PluginError(f"expected (class, settings), got a tuple of {len(wrong[0])}")
    named = [(loaded_class(cls), settings) for cls, settings in pairs if inspect.isclass(cls)]
    extras = tuple(plugin for plugin, _ in pairs if not inspect.isclass(plugin))
    for plugin, settings in pairs:
        if settings and not inspect.isclass(plugin):
            raise PluginError(f"{type(plugin).__name__}: expected a class beside settings, got an object or a module")
    parts = Components()
    for plugin, _ in named:
        for part in plugin.components:
            parts.add(part, plugin.label)
    problems: list[Problem] = []
    near = Suggestions({}).at
    nodes = {plugin.name: from_python(settings or {}, Mark()) for plugin, settings in named}
    root = Given(from_python({"plugins": nodes}, Mark()), components=parts if list(parts) else None, near=near)
    choices = tuple(choice(plugin, root, problems) for plugin, _ in named)
    tree = {"training": training, "data": data, "environment": {"output_dir": str(folder)}}
    sections: dict[str, Any] = {}
    for name, cls in BASES.items():
        with collecting(problems):
            # What a section picks is scripted, whatever the plugins offer.
            made = make_settings(Given(from_python(tree.get(name, {}), Mark()), (name,), near=near), cls)
            part = Component(name, "scripted", cls, _never)
            sections[name] = made if name in ("training", "environment") else Selected(part, made)
    if problems:
        raise ConfigError(problems)
    plain = {**tree, "plugins": {name: node.plain() for name, node in nodes.items()}, "hooks": []}
    return Config(
        tree={**{name: {"type": "scripted"} for name in BASES}, **plain},
        marks={},
        plugins=choices,
        hooks=(),
        components=parts,
        base=Path.cwd(),
        user=None,  # type: ignore[arg-type]  # nothing is laid over a scripted configuration
        loader=None,  # type: ignore[arg-type]  # and nothing is looked for
        extras=extras,
        **sections,
    ), extras


def _never(*_: Any, **__: Any) -> Any:
    raise PluginError("a scripted run builds no model, data source, optimizer or schedule")


def loaded_class(cls: type) -> LoadedPlugin:
    """Return a class as if a configuration had named it."""
    return LoadedPlugin(snake_case(cls.__name__), cls, cls.__module__, "", "local")
