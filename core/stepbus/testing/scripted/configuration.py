"""The configuration of a scripted run: plugins with their settings, and sections whose components are scripted."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from stepbus.base import Component, Components, ConfigError, PluginError, Problem, Selected, did_you_mean, snake_case
from stepbus.base.trees import Given, Mark, collecting, from_python, make_settings
from stepbus.config import BASES, Config, Suggestions, choice
from stepbus.config.discovery import LoadedPlugin


@frozen(eq=False)
class ScriptedConfig(Config):
    """A configuration of a scripted run.

    Args:
        given: The plugins that it was made of, and those passed in Python.
    """

    given: tuple[Any, ...] = ()

    def updated(
        self,
        keywords: Mapping[str, Any],
        overrides: Sequence[str] = (),
        plugins: Iterable[Any] = (),
        loader: Any = None,
    ) -> Config:
        """Return the configuration with some settings changed, as the overrides of a fit do it.

        Args:
            keywords: Settings by dotted path.
            overrides: None: a scripted run has no command line.
            plugins: None: those of the run stay.
            loader: None: nothing is looked for.

        Raises:
            ConfigError: A setting cannot be used.
        """
        tree: dict[str, Any] = {name: dict(self.tree.get(name, {})) for name in (*BASES, "plugins")}
        problems: list[Problem] = []
        for path, value in keywords.items():
            *outer, last = path.split(".")
            place: Any = tree
            for key in outer:
                if not isinstance(place.get(key), dict):
                    problems.append(
                        Problem(path, f"expected a setting, got none of that name{did_you_mean(key, place)}")
                    )
                    break
                place[key] = dict(place[key])
                place = place[key]
            else:
                place[last] = value
        if problems:
            raise ConfigError(problems)
        chosen = tree.pop("plugins")
        for name in BASES:
            tree[name].pop("type", None)
        names = iter(own_names(self.given))
        own = [(each, chosen[next(names)]) if inspect.isclass(each) else each for each in self.given]
        return _made(own, tree)[0]


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
    return _made(plugins, {"training": training, "data": data, "environment": {"output_dir": str(folder)}})


def _made(plugins: Sequence[Any], tree: Mapping[str, Any]) -> tuple[Config, tuple[Any, ...]]:
    pairs = [each if isinstance(each, tuple) else (each, {}) for each in plugins]
    if wrong := [pair for pair in pairs if len(pair) != 2]:
        raise PluginError(f"expected (class, settings), got a tuple of {len(wrong[0])}")
    names = iter(own_names([plugin for plugin, _ in pairs]))
    classes = [(cls, settings) for cls, settings in pairs if inspect.isclass(cls)]
    named = [(evolve(loaded_class(cls), name=next(names)), settings) for cls, settings in classes]
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
    return ScriptedConfig(
        tree={**{name: {"type": "scripted"} for name in BASES}, **plain},
        marks={},
        plugins=choices,
        hooks=(),
        components=parts,
        base=Path.cwd(),
        user=None,  # type: ignore[arg-type]  # nothing is laid over a scripted configuration
        loader=None,  # type: ignore[arg-type]  # and nothing is looked for
        extras=extras,
        given=tuple(plugin for plugin, _ in pairs),
        **sections,
    ), extras


def _never(*_: Any, **__: Any) -> Any:
    raise PluginError("a scripted run builds no model, data source, optimizer or schedule")


def loaded_class(cls: type) -> LoadedPlugin:
    """Return a class as if a configuration had named it."""
    return LoadedPlugin(snake_case(cls.__name__), cls, cls.__module__, "", "local")


def own_names(plugins: Iterable[Any]) -> list[str]:
    """Return the names that classes have in a configuration, each its own: "mine", and of a second one "mine_2".

    Args:
        plugins: What a kit was given; what is no class has no name there.
    """
    found: list[str] = []
    for each in plugins:
        if inspect.isclass(each):
            name = snake_case(each.__name__)
            others = (f"{name}_{number}" for number in itertools.count(2))
            found.append(name if name not in found else next(other for other in others if other not in found))
    return found
