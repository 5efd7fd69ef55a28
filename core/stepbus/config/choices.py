"""The plugins that a configuration switches on: imported by name, expanded, their settings typed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs
from attrs import frozen

from stepbus.base import (
    KINDS,
    POLICIES,
    Components,
    ConfigError,
    PluginError,
    Problem,
    components_of,
    error_words,
    policy_of,
    show,
)
from stepbus.base.trees import Given, Keys, Mark, Node, collecting, from_python, make_settings, show_path
from stepbus.config.discovery import offering, switch_on
from stepbus.config.layers import merge, merge_all
from stepbus.config.normaliser import Normaliser

if TYPE_CHECKING:
    from stepbus.config.discovery import InstalledPlugin, LoadedPlugin


# Plugins may switch each other on; a chain longer than this runs in a circle.
MAX_EXPANSIONS = 10


class Loader(Protocol):
    """What finds and imports plugins: the module `stepbus.config.discovery.plugins`, or a test's own."""

    def installed(self) -> dict[str, InstalledPlugin]: ...

    def load_class(self, name: str, use: str | None = None, base: Path | None = None) -> LoadedPlugin: ...


@frozen
class PluginChoice:
    """A plugin that a configuration switched on.

    Args:
        name: Its name there.
        loaded: Its class and where that comes from.
        settings: An instance of its Config, or None if it has none.
        on_error: raise, or disable: what an exception in one of its hooks does; its class may say so too.
        mark: Where it was switched on.
    """

    name: str
    loaded: LoadedPlugin
    settings: Any
    on_error: Literal["raise", "disable"]
    mark: Mark


class Plugins:
    """The plugins that a tree switches on, imported once each."""

    def __init__(self, loader: Loader, normalise: Normaliser, problems: list[Problem]) -> None:
        self.loader, self.normalise, self.problems = loader, normalise, problems
        self.seen: dict[tuple[str, str | None], LoadedPlugin | None] = {}
        self.loaded: dict[str, LoadedPlugin] = {}
        self.marks: dict[str, Mark] = {}
        self.failed = False

    def expand(self, defaults: Node, user: Node) -> Node:
        """Return the user's tree over what its plugins' `expand` lay below it, over the defaults."""
        tree, expansions = merge(defaults, user), list[Node]()
        for _ in range(MAX_EXPANSIONS):
            self.load(tree)
            before = [node.plain() for node in expansions]
            expansions = [node for name, loaded in self.loaded.items() if (node := self.expansion(name, loaded, tree))]
            if [node.plain() for node in expansions] == before:
                return tree
            tree = merge_all([defaults, *expansions, user])
        names = ", ".join(name for name, loaded in self.loaded.items() if hasattr(loaded.cls, "expand"))
        self.problems.append(Problem("plugins", f"the configuration that {names} lay under it never settles"))
        return tree

    def load(self, tree: Node) -> None:
        self.loaded = {}
        for name, node in tree.value["plugins"].value.items():
            if node.value is False:
                continue
            use = node.value.get("use")
            use_text = use.value if use is not None else None
            key = (name, str(use_text) if use is not None else None)
            if key not in self.seen:
                self.seen[key] = self.imported(name, use_text, use or node)
            loaded = self.seen[key]
            if loaded is not None:
                self.loaded[name], self.marks[name] = loaded, node.mark

    def imported(self, name: str, use: Any, node: Node) -> LoadedPlugin | None:
        if use is not None and not isinstance(use, str):
            self.refuse(("plugins", name, "use"), f"expected module:Class or ./file.py:Class, got {show(use)}", node)
            return None
        try:
            return self.loader.load_class(name, use, node.mark.folder)
        except PluginError as error:
            self.refuse(("plugins", name), str(error), node)
            return None

    def refuse(self, path: Keys, message: str, node: Node) -> None:
        self.failed = True
        self.problems.append(Problem(show_path(path), message, node.mark.file, node.mark.line))

    def expansion(self, name: str, loaded: LoadedPlugin, tree: Node) -> Node | None:
        if not hasattr(loaded.cls, "expand"):
            return None
        node = tree.value["plugins"].value[name]
        settings = {key: value for key, value in node.plain().items() if key not in ("use", "on_error")}
        mark = attrs.evolve(node.mark, text=None, written=None)
        try:
            return self.normalise(from_python(loaded.cls.expand(settings) or {}, mark))
        except ConfigError as error:
            reason: Any = "; ".join(str(problem) for problem in error.problems)
        except (Exception, SystemExit) as error:
            reason = error_words(error)
        self.refuse(("plugins", name), f"its expand() cannot be used: {reason} ({loaded.label})", node)
        # Asking again would report it again.
        self.seen = {key: None if key[0] == name else each for key, each in self.seen.items()}
        return None

    def components(self, extras: tuple[Any, ...]) -> Components:
        """Return what the plugins and the objects passed in Python offer."""
        offered = [
            (loaded.cls, loaded.label, Problem("plugins", "", self.marks[name].file, self.marks[name].line))
            for name, loaded in self.loaded.items()
        ]
        for extra in extras:
            label = f"{getattr(extra, '__name__', type(extra).__name__)} (passed in Python)"
            offered.append((extra, label, Problem("plugins", "")))
        components = Components(self.elsewhere)
        for plugin, label, home in offered:
            try:
                for part in components_of(plugin, label):
                    components.add(part, label, home)
            except PluginError as error:
                self.failed = True
                self.problems.append(attrs.evolve(home, message=str(error)))
        return components

    def check_kinds(self, components: Components) -> list[str]:
        """Refuse components of a misspelt kind; return what is to be said of those that nothing picks."""
        classes = [loaded.config_class for loaded in self.loaded.values()] + [part.config for part, _ in components]
        fields = [field for cls in classes if isinstance(cls, type) and attrs.has(cls) for field in attrs.fields(cls)]
        kinds = {*KINDS, *(field.metadata["component"] for field in fields if field.metadata.get("component"))}
        found = list(components.of_other_kinds(kinds))
        self.problems += [Problem("plugins", words) for words, misspelt in found if misspelt]
        self.failed = self.failed or any(misspelt for _, misspelt in found)
        return [f"{words}; it has no effect" for words, misspelt in found if not misspelt]

    def elsewhere(self, kind: str, name: str) -> str:
        """Return who offers a component and is not switched on, as words that say how to do that; "" for nobody."""
        others = [plugin for plugin in self.loader.installed().values() if plugin.name not in self.loaded]
        return switch_on(offering(kind, name, others))


def choice(loaded: LoadedPlugin, root: Given, problems: list[Problem]) -> PluginChoice:
    """Return a plugin with its settings.

    Args:
        loaded: The plugin.
        root: The whole configuration.
        problems: Takes what is wrong with the settings.
    """
    given = attrs.evolve(root.inner("plugins").inner(loaded.name), label=loaded.label)
    policy, made = given.inner("on_error", policy_of(loaded.cls, loaded.label)), None
    if policy.node.value not in POLICIES:
        problems.append(policy.problem(f"expected raise or disable, got {show(policy.node.value)}"))
    if loaded.config_class is not None:
        with collecting(problems):
            made = make_settings(given, loaded.config_class, ignore=("use", "on_error"))
    else:
        for name in [name for name in given.node.value if name not in ("use", "on_error")]:
            item = given.inner(name)
            near = given.near(name, given.path, (), item.node.value)
            problems.append(item.problem(f"expected no settings, got {name!r}{near}"))
    return PluginChoice(loaded.name, loaded, made, policy.node.value, given.node.mark)
