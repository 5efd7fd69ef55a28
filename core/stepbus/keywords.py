"""Settings by bare name, as `create_trainer(model, learning_rate=1e-5, batch_size=64)` gives them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from stepbus.components import Components
from stepbus.errors import ConfigError, PluginError, Problem, did_you_mean
from stepbus.layers import COMPONENT_SECTIONS, SECTIONS, TOP_KEYS, aliases, merge, nest
from stepbus.python_tree import from_python
from stepbus.structuring import show_path
from stepbus.yaml_tree import Keys, Mark, Node

if TYPE_CHECKING:
    from stepbus.plugins import LoadedPlugin


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
    layer, late = Node({}), dict[str, Node]()
    others = {alias[-1]: alias for alias, path in aliases().items() if path is not None}
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
        layer = merge(layer, nest(keys, node))
    return layer, late


def late_keywords(
    late: Mapping[str, Node],
    tree: Node,
    components: Components,
    loaded: Mapping[str, LoadedPlugin],
    bases: Mapping[str, type],
    problems: list[Problem],
) -> Node:
    """Place bare names by looking them up in the sections' settings, then in those of the plugins.

    Args:
        late: Values by bare name.
        tree: The configuration so far; it says which component each section picked.
        components: What the plugins offer.
        loaded: The plugins that are switched on.
        bases: Section → the class of its settings, or the one that they extend.
        problems: Takes names that nothing knows, or several places do.
    """
    layer = Node({})
    if not late:
        return layer
    sections: dict[Keys, type] = {}
    for name in SECTIONS:
        sections[(name,)] = bases[name]
        picked = tree.value[name].value.get("type") if name in COMPONENT_SECTIONS else None
        if picked is not None and isinstance(picked.value, str):
            try:
                sections[(name,)] = components.get(name, picked.value).config
            except PluginError:
                continue
    plugins: dict[Keys, type] = {
        ("plugins", name): each.config_class for name, each in loaded.items() if each.config_class is not None
    }
    for name, node in late.items():
        found = _places(name, sections) or _places(name, plugins)
        if len(found) == 1:
            layer = merge(layer, nest(found[0], node))
        elif found:
            places = " and ".join(show_path(path) for path in found)
            problems.append(
                Problem(name, f"expected the name of one setting, but {places} have it; give section__name")
            )
        else:
            every = [field for cls in [*sections.values(), *plugins.values()] for field in _names(cls)]
            near = did_you_mean(name, [*every, *TOP_KEYS, *loaded])
            problems.append(Problem(name, f"expected the name of a setting, a section or a plugin{near}"))
    return layer


def _places(name: str, classes: Mapping[Keys, type]) -> list[Keys]:
    return [(*path, name) for path, cls in classes.items() if name in _names(cls)]


def _names(cls: type) -> list[str]:
    return [field.alias or field.name for field in attrs.fields(cls) if field.init]
