"""A layer in its one canonical shape: aliases moved, short forms written out, paths absolute."""

from __future__ import annotations

from collections.abc import Collection

import attrs

from stepbus.base import Problem, show, unusable
from stepbus.base.trees import Keys, Mark, Node, resolve_place, show_path
from stepbus.config.layers import COMPONENT_SECTIONS, FOR_MODELS, SECTIONS, TOP_KEYS
from stepbus.config.original import give_way
from stepbus.config.sections import BASES
from stepbus.config.suggestions import Suggestions, aliases, setting_names


class Normaliser:
    """Brings a layer into its one canonical shape: aliases moved, short forms written out, paths absolute.

    Args:
        known: The names of installed plugins, which may stand as sections of their own.
        problems: Takes what is wrong.
    """

    def __init__(self, known: Collection[str], problems: list[Problem]) -> None:
        self.known = known
        self.problems = problems
        self.dropped: list[Problem] = []  # what is accepted, has no effect, and is in no tree from here on

    def __call__(self, layer: Node) -> Node:
        """Return a layer in canonical shape; what cannot be understood is left out and reported."""
        top = dict(layer.value)
        if "extends" in top:
            self.refuse(("extends",), "expected extends only in a file", top.pop("extends"))
        if FOR_MODELS in top:
            mark, message = top.pop(FOR_MODELS).mark, "it has no effect in a run, which starts from what model says"
            self.dropped.append(Problem(FOR_MODELS, message, mark.file, mark.line))
        for name in SECTIONS:
            if name in top:
                top[name] = self.section(name, top[name])
        if "plugins" in top:
            top["plugins"] = self.mapping(("plugins",), top["plugins"], "a mapping from plugin names to settings")
        if "hooks" in top:
            top["hooks"] = self.hooks(top["hooks"])
        for key in [key for key in top if key not in TOP_KEYS]:
            self.plugin_section(top, key, layer.mark)
        tree = Node(top, layer.mark)
        for alias, path in aliases().items():
            self.move(tree, alias, path)
        if "plugins" in top:
            top["plugins"] = self.plugins(top["plugins"])
        return tree

    def refuse(self, path: Keys, message: str, node: Node) -> None:
        self.problems.append(Problem(show_path(path), message, node.mark.file, node.mark.line))

    def mapping(self, path: Keys, node: Node, expected: str) -> Node:
        if node.value is None:
            return Node({}, node.mark)
        if isinstance(node.value, dict):
            return Node(dict(node.value), node.mark)
        self.refuse(path, f"expected {expected}, got {show(node.value)}", node)
        return Node({}, node.mark)

    def section(self, name: str, node: Node) -> Node:
        if name in COMPONENT_SECTIONS and isinstance(node.value, str):
            return Node({"type": node}, node.mark)
        if node.mark.flat and node.mark.flat != name:
            got, expected = (f"{each.capitalize()}Config" for each in (node.mark.flat, name))
            self.refuse((name,), f"expected {expected}, or a mapping of settings, got {got}", node)
            return Node({}, node.mark)
        node = self.mapping((name,), node, "a mapping of settings")
        return give_way(name, node, self.dropped) if node.mark.flat else node

    def hooks(self, node: Node) -> Node:
        """Return the hook modules as a list, files as absolute paths."""
        nodes = node.value if isinstance(node.value, list) else [] if node.value is None else [node]
        found = []
        for index, item in enumerate(nodes):
            place = ("hooks", index) if isinstance(node.value, list) else ("hooks",)
            if isinstance(item.value, str) and item.value:
                self.check_place(place, item)
                found.append(Node(_module_place(item.value, item.mark), item.mark))
            else:
                message = f"expected a module's name or a .py file, got {show(item.value)}"
                self.refuse(place, message, item)
        return Node(found, node.mark)

    def check_place(self, path: Keys, node: Node) -> None:
        """Refuse a module or file whose name can be no path."""
        reason = unusable(node.value.rpartition(":")[0] or node.value, node.mark.folder)
        if reason is not None:
            self.refuse(path, reason, node)

    def plugin_section(self, top: dict[str, Node], key: str, mark: Mark) -> None:
        """Move a top-level key that is a plugin's name under `plugins`."""
        node = top.pop(key)
        plugins = top.get("plugins", Node({}, mark))
        if key not in self.known and key not in plugins.value:
            near = Suggestions({(name,): cls for name, cls in BASES.items()}).at(
                key, (), [*TOP_KEYS, "extends", *self.known], node.value
            )
            message = (
                f"expected a section or an installed plugin, got {key!r}{near or '; sections: ' + ', '.join(TOP_KEYS)}"
            )
            self.refuse((key,), message, node)
        elif not (node.value is None or isinstance(node.value, bool | dict)):
            self.refuse((key,), self.no_settings(key, node), node)
        elif key in plugins.value:
            self.refuse((key,), f"expected either {key} or plugins.{key}, got both", node)
        else:
            plugins.value[key] = node
            top["plugins"] = plugins

    def no_settings(self, name: str, node: Node) -> str:
        """Return what is wrong with something else in place of a plugin's settings; it may be that of a section."""
        paths = [(section, name) for section, cls in BASES.items() if name in setting_names(cls)]
        if not paths:
            return f"expected settings, true, false or null, got {show(node.value)}"
        expected = f"expected settings of the plugin {name}, true, false or null, got {show(node.value)}"
        return f"{expected} (did you mean {show_path(paths[0])!r}?)"

    def move(self, tree: Node, alias: Keys, path: Keys | None) -> None:
        """Move a setting from where an alias was written to where it belongs."""
        *outer, last = alias
        parent = _find(tree, tuple(outer))
        if parent is None or last not in parent.value:
            return
        node = parent.value.pop(last)
        if path is None:
            message = "it has no effect: memory is unified, there is nothing to pin"
            self.dropped.append(Problem(show_path(alias), message, node.mark.file, node.mark.line))
            return
        node = Node(node.value, attrs.evolve(node.mark, written=show_path(alias)))
        place = tree
        for key in path[:-1]:
            inside = place.value.setdefault(key, Node({}, node.mark))
            if inside.value is False:
                off = inside.mark.written or show_path(path[:2])
                message = f"it has no effect, because {off} is false beside it; leave one of them out"
                self.dropped.append(Problem(show_path(alias), message, node.mark.file, node.mark.line))
                return
            if inside.value is None or inside.value is True:
                inside = place.value[key] = Node({}, inside.mark)
            if not isinstance(inside.value, dict):
                return
            place = inside
        if path[-1] in place.value:
            if node.value is True:
                # "On", said twice; the settings are in the other place.
                return
            self.refuse(alias, f"expected either {show_path(alias)} or {show_path(path)}, they mean the same", node)
        place.value[path[-1]] = node

    def plugins(self, node: Node) -> Node:
        """Return the plugins with null and true as {}, and classes in files by absolute path."""
        found = {}
        for name, item in node.value.items():
            if item.value is None or item.value is True:
                item = Node({}, item.mark)
            elif isinstance(item.value, dict):
                use = item.value.get("use")
                if use is not None and isinstance(use.value, str):
                    self.check_place(("plugins", name, "use"), use)
                    item = Node({**item.value, "use": Node(_module_place(use.value, use.mark), use.mark)}, item.mark)
            elif item.value is not False:
                self.refuse(("plugins", name), self.no_settings(name, item), item)
                continue
            found[name] = item
        return Node(found, node.mark)


def _find(tree: Node, path: Keys) -> Node | None:
    for key in path:
        if not isinstance(tree.value, dict) or key not in tree.value:
            return None
        tree = tree.value[key]
    return tree if isinstance(tree.value, dict) else None


def _module_place(text: str, mark: Mark) -> str:
    """Return "./file.py" and "./file.py:Class" with the file's absolute path; module names stay."""
    file, colon, attribute = text.rpartition(":") if not text.endswith(".py") else (text, "", "")
    return resolve_place(file, mark, "file") + colon + attribute if file.endswith(".py") else text
