"""Settings by bare name, as `create_trainer(model, learning_rate=1e-5, batch_size=64)` gives them."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stepbus.base import Components, ConfigError, PluginError, Problem, listed, show
from stepbus.base.trees import Keys, Mark, Node, from_python, show_path
from stepbus.config.between import contradictions, off_and_set
from stepbus.config.layers import COMPONENT_SECTIONS, SECTIONS, TOP_KEYS, merge, merge_all, nest
from stepbus.config.suggestions import MOST, Suggestions, aliases, setting_names

if TYPE_CHECKING:
    from stepbus.config.discovery import LoadedPlugin


def keyword_layer(
    keywords: Mapping[str, Any], known: Collection[str], problems: list[Problem]
) -> tuple[Node, dict[str, Node]]:
    """Place the keywords whose place is known before any plugin is imported.

    Args:
        keywords: Values by section, plugin, dotted path, section__name, or bare name.
        known: The names of installed plugins.
        problems: Takes values that no file could hold.

    Returns:
        A layer, and the bare names that are left for `late_keywords`.
    """
    layer, late, said = Node({}), dict[str, Node](), list[tuple[str, Node]]()
    others = {alias[-1]: alias for alias in aliases()}
    for name, value in keywords.items():
        try:
            node = from_python(value, Mark(), name)
        except ConfigError as error:
            problems += error.problems
            continue
        keys: Keys = tuple(name.split("__") if "__" in name else name.split("."))
        if len(keys) == 1 and name not in TOP_KEYS:
            # A plugin's name may be a setting's too: `metrics=["f1"]` is training.metrics, `metrics=False` the plugin.
            if name in known and (node.value is None or isinstance(node.value, bool | dict)):
                keys = ("plugins", name)
            elif name in others:
                keys = others[name]
            else:
                late[name] = node
                continue
        placed = nest(keys, node)
        problems += contradictions(layer, placed)
        said.append((name, placed))
        layer = merge(layer, placed)
    twice = list(off_and_set(said, aliases(), TOP_KEYS))
    refused = {problem.path for problem in twice}
    problems += twice
    return merge_all(placed for name, placed in said if name not in refused), late


def late_keywords(
    late: Mapping[str, Node],
    tree: Node,
    components: Components,
    loaded: Mapping[str, LoadedPlugin],
    installed: Collection[str],
    named: Collection[str],
    bases: Mapping[str, type],
    problems: list[Problem],
) -> Node:
    """Place bare names by looking them up in the sections' settings, then in those of the plugins that somebody named.

    A plugin that is on by default takes no bare name: `patience=5` is hardly meant for nan_guard.

    Args:
        late: Values by bare name.
        tree: The configuration so far; it says which component each section picked.
        components: What the plugins offer.
        loaded: The plugins that are switched on.
        installed: The names of all plugins.
        named: Those that are switched on and that the user's files, presets or keywords name.
        bases: Section → the class of its settings, or the one that they extend.
        problems: Takes names that nothing knows, or several places do.
    """
    layer = Node({})
    if not late:
        return layer
    sections = section_classes(tree, components, bases)
    plugins: dict[Keys, type] = {
        ("plugins", name): each.config_class for name, each in loaded.items() if each.config_class is not None
    }
    for name, node in late.items():
        found = _places(name, {(section,): bases[section] for section in SECTIONS})
        if not found:
            meant = {path: cls for path, cls in plugins.items() if path[1] in named}
            found = _places(name, sections) + _places(name, meant)
        others = _places(name, plugins) + [path for path in _by_alias(name) if path[:2] not in plugins]
        if len(found) == 1:
            layer = merge(layer, nest(found[0], node))
        elif found:
            places = listed(show_path(path) for path in found)
            said = f"expected the name of one setting, but {places} have it; {_ways(found, node, plugins)}"
            problems.append(Problem(name, said))
        elif others:
            places = listed(show_path(path) for path in others)
            said = f"expected a setting of a section or of a plugin that you name, but it is that of {places}"
            problems.append(Problem(name, f"{said}; {_ways(others, node, plugins)}"))
        elif name in installed:
            problems.append(Problem(name, f"expected settings, true, false or null, got {show(node.value)}"))
        else:
            near = _of_a_type(name, node.plain(), components) or Suggestions(
                {**sections, **plugins}, components
            ).keyword(name, [*TOP_KEYS, *loaded, *installed])
            problems.append(Problem(name, f"expected the name of a setting, a section or a plugin{near}"))
    return layer


def section_classes(tree: Node, components: Components, bases: Mapping[str, type]) -> dict[Keys, type]:
    """Return the class of each section's settings: that of the component which it picks, where there is one."""
    sections: dict[Keys, type] = {}
    for name in SECTIONS:
        sections[(name,)] = bases[name]
        picked = tree.value[name].value.get("type") if name in COMPONENT_SECTIONS else None
        if picked is not None and isinstance(picked.value, str):
            with suppress(PluginError):
                sections[(name,)] = components.get(name, picked.value).config
    return sections


def _by_alias(name: str) -> list[Keys]:
    """Return the plugins' settings of a name that other names are known for, whether those plugins are on or not."""
    paths = dict.fromkeys(path for path in aliases().values() if path and path[0] == "plugins" and len(path) == 3)
    return [path for path in paths if path[-1] == name]


def _of_a_type(name: str, value: Any, components: Components) -> str:
    """Return how to pick the component that a bare `type` names, or that has a setting of a name; "" for none."""
    parts = [part for part, _ in components if part.kind in COMPONENT_SECTIONS]
    if name == "type":
        ways = [f"{part.kind}={ ({'type': part.name})!r}" for part in parts if part.name == value]
    else:
        having = [part for part in parts if name in setting_names(part.config)]
        ways = [f"{part.kind}={ ({'type': part.name, name: value})!r}" for part in having]
    return f"; write {listed(ways[:MOST], 'or')}" if ways else ""


def _ways(paths: Sequence[Keys], node: Node, plugins: Container[Keys]) -> str:
    """Return what to write for each place: `nan_guard__patience=5`; `early_stopping={"patience": 5}` switches it on."""
    value = node.plain()
    ways = []
    for path in paths:
        outer, name = path[:-1], path[-1]
        if outer[0] == "plugins" and outer not in plugins:
            ways.append(f'{outer[1]}={{"{name}": {value!r}}}')
        else:
            ways.append(f"{outer[-1]}__{name}={value!r}")
    return f"write {listed(ways, 'or')}"


def _places(name: str, classes: Mapping[Keys, type]) -> list[Keys]:
    return [(*path, name) for path, cls in classes.items() if name in setting_names(cls)]
