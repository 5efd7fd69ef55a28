"""Configurations in layers: a file over its bases, everything over the defaults, overrides over everything."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import attrs

from stepbus.base import ConfigError, Problem, did_you_mean, show, unusable, usable
from stepbus.base.trees import Keys, Mark, Node, from_python, parse, read_tree, resolve_place, show_path
from stepbus.config.discovery import preset_path
from stepbus.config.sections import BASES
from stepbus.config.suggestions import Suggestions, aliases

COMPONENT_SECTIONS = ("model", "data", "optimizer", "scheduler")
SECTIONS = (*COMPONENT_SECTIONS, "training", "environment")
TOP_KEYS = (*SECTIONS, "plugins", "hooks")
MAX_FILES = 50


class TooManyFiles(ConfigError):
    """Bases of bases have grown out of hand; unlike other problems of a base, this one ends the reading."""


def merge(under: Node, over: Node) -> Node:
    """Lay one tree over another: mappings are merged by key, everything else is replaced.

    Where both pick a `type` and differ, what is left of the lower layer's settings becomes stale: it falls away if
    the type picked above does not know it.
    """
    if not (isinstance(under.value, dict) and isinstance(over.value, dict)):
        return over
    merged = dict(under.value)
    types = [tree.value["type"].value for tree in (under, over) if "type" in tree.value]
    if len(types) == 2 and types[0] != types[1]:
        merged = {key: node.remark(lambda mark: attrs.evolve(mark, stale=True)) for key, node in merged.items()}
    for key, node in over.value.items():
        merged[key] = merge(merged[key], node) if key in merged else node
    return Node(merged, over.mark)


def merge_all(layers: Iterable[Node]) -> Node:
    """Lay many trees over each other, the lowest first."""
    return reduce(merge, layers, Node({}))


def shown(path: Path) -> str:
    """Return a file as messages name it: from the working directory where it lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


class _BadPath(ConfigError):
    """A file's path that can be none."""

    def __init__(self, message: str) -> None:
        super().__init__([Problem("", message)])


def read_layers(source: Path | str | Mapping[str, Any] | None, problems: list[Problem]) -> tuple[list[Node], Path]:
    """Read a configuration and what it extends.

    Args:
        source: A file, a preset's name, plain values, or nothing.
        problems: Takes what is wrong with the bases.

    Returns:
        The layers, the lowest first, and the folder that the configuration is in.

    Raises:
        ConfigError: The source itself cannot be read.
    """
    if source is None:
        return [], Path.cwd()
    if isinstance(source, Mapping):
        return _with_bases(from_python(source, Mark()), (), [], problems), Path.cwd()
    if isinstance(source, str) and not _names_file(source):
        path = preset_path(source)
        tree = _of_preset(read_tree(path, shown(path)))
    else:
        path = usable(source, _BadPath)
        if not path.exists():
            near = did_you_mean(path.name, os.listdir(path.parent) if path.parent.is_dir() else [])  # noqa: PTH208
            raise ConfigError([Problem("", f"there is no file {str(source)!r}{near}")])
        tree = read_tree(path, str(source))
    return _with_bases(tree, (path.resolve(),), [], problems), path.parent.absolute()


def _names_file(text: str) -> bool:
    return Path(text).suffix.lower() in (".yaml", ".yml", ".json") or "/" in text or os.sep in text


def _with_bases(tree: Node, chain: tuple[Path, ...], read: list[Path], problems: list[Problem]) -> list[Node]:
    """Return a tree's bases and the tree; `chain` led to it, `read` counts every file of the configuration."""
    extends = tree.value.pop("extends", None)
    if extends is None or extends.value is None:
        return [tree]
    bases = extends.value if isinstance(extends.value, list) else [extends]
    layers: list[Node] = []
    for base in bases:
        try:
            layers += _base(base, chain, read, problems)
        except TooManyFiles:
            raise
        except ConfigError as error:
            problems += [attrs.evolve(each, **_where(each, base)) for each in error.problems]
    return [*layers, tree]


def _where(problem: Problem, base: Node) -> dict[str, Any]:
    """Place a problem that knows no file at the line that named the base."""
    return {} if problem.file else {"path": "extends", "file": base.mark.file, "line": base.mark.line}


def _base(base: Node, chain: tuple[Path, ...], read: list[Path], problems: list[Problem]) -> list[Node]:
    name = base.value
    if not isinstance(name, str):
        raise _problem("extends", f"expected a file, a preset or a list of them, got {show(name)}", base)
    reason = unusable(name, base.mark.folder) if _names_file(name) else None
    if reason is not None:
        raise _problem("extends", reason, base)
    path = Path(resolve_place(name, base.mark, "file")) if _names_file(name) else preset_path(name)
    if not path.is_file():
        siblings = [other.name for other in path.parent.glob("*") if other.is_file()]
        raise _problem("extends", f"there is no file {name!r}{did_you_mean(path.name, siblings)}", base)
    if path.resolve() in chain:
        circle = " → ".join(each.name for each in (*chain, path))
        raise _problem("extends", f"expected a file that does not come back to this one, got {circle}", base)
    read.append(path)
    if len(read) > MAX_FILES:
        message = f"expected at most {MAX_FILES} files in all, got more"
        raise TooManyFiles([Problem("extends", message, base.mark.file, base.mark.line)])
    tree = read_tree(path, shown(path))
    return _with_bases(tree if _names_file(name) else _of_preset(tree), (*chain, path.resolve()), read, problems)


def _of_preset(tree: Node) -> Node:
    """Mark values as those of a preset, which is not to blame for what a user left out."""
    return tree.remark(lambda mark: attrs.evolve(mark, preset=True))


def _problem(path: str, message: str, node: Node) -> ConfigError:
    return ConfigError([Problem(path, message, node.mark.file, node.mark.line)])


def override_layer(text: str, problems: list[Problem]) -> Node:
    """Return `section.key=value` as a tree; the value is read as YAML, and the schema may still take it as text."""
    path, equals, written = text.partition("=")
    keys = tuple(path.strip().split("."))
    if not equals or not all(keys):
        problems.append(Problem("", f"expected section.key=value, got {text!r}", "--set"))
        return Node({})
    mark = Mark("--set")
    try:
        value = parse(written, mark) or Node(None, mark)
    except ConfigError:
        value = Node(written, mark)
    value = Node(value.value, Mark("--set", text=written))
    return nest(keys, value)


def nest(keys: Keys, value: Node) -> Node:
    """Return mappings around a value, one for each key."""
    return reduce(lambda node, key: Node({key: node}, value.mark), reversed(keys), value)


class Normaliser:
    """Brings a layer into its one canonical shape: aliases moved, short forms written out, paths absolute.

    Args:
        known: The names of installed plugins, which may stand as sections of their own.
        problems: Takes what is wrong.
    """

    def __init__(self, known: Collection[str], problems: list[Problem]) -> None:
        self.known = known
        self.problems = problems
        self.notes: list[Problem] = []  # what is accepted and has no effect

    def __call__(self, layer: Node) -> Node:
        """Return a layer in canonical shape; what cannot be understood is left out and reported."""
        top = dict(layer.value)
        if "extends" in top:
            self.refuse(("extends",), "expected extends only in a file", top.pop("extends"))
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
        return self.mapping((name,), node, "a mapping of settings")

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
        elif key in plugins.value:
            self.refuse((key,), f"expected either {key} or plugins.{key}, got both", node)
        else:
            plugins.value[key] = node
            top["plugins"] = plugins

    def move(self, tree: Node, alias: Keys, path: Keys | None) -> None:
        """Move a setting from where an alias was written to where it belongs."""
        *outer, last = alias
        parent = _find(tree, tuple(outer))
        if parent is None or last not in parent.value:
            return
        node = parent.value.pop(last)
        if path is None:
            message = "it has no effect: memory is unified, there is nothing to pin"
            self.notes.append(Problem(show_path(alias), message, node.mark.file, node.mark.line))
            return
        node = Node(node.value, attrs.evolve(node.mark, written=show_path(alias)))
        place = tree
        for key in path[:-1]:
            inside = place.value.setdefault(key, Node({}, node.mark))
            if inside.value is False:
                message = f"it has no effect, because {show_path(path[:2])} is switched off beside it"
                self.notes.append(Problem(show_path(alias), message, node.mark.file, node.mark.line))
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
                self.refuse(("plugins", name), f"expected settings, true, false or null, got {show(item.value)}", item)
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
