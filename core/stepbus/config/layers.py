"""Configurations in layers: a file over its bases, everything over the defaults, overrides over everything."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import attrs

from stepbus.base import ConfigError, Problem, did_you_mean, show, unusable, usable
from stepbus.base.trees import FlatSettings, Keys, Mark, Node, from_python, parse, read_tree, resolve_place, show_path
from stepbus.config.discovery import configs_folder, preset_path

COMPONENT_SECTIONS = ("model", "data", "loss", "optimizer", "scheduler")
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


def what_stays(under: Node, over: Node) -> Iterator[Problem]:
    """Yield what a settings object, which has its default there, leaves as a layer below has it.

    Args:
        under: The layers below.
        over: A layer of Python's.
    """
    for path, node in over.walk():
        below = under
        for key in path if node.mark.unsaid else ():
            below = below.value.get(key, Node({})) if isinstance(below.value, dict) else Node({})
        for name, default in node.mark.unsaid if isinstance(below.value, dict) else ():
            kept = below.value.get(name)
            if kept is not None and not isinstance(kept.value, dict | list) and kept.value != default:
                usual = f"a settings object with the default ({show(default)}) does not say whether it was set"
                mend = f"{str(path[0]).capitalize()}Config({name}=…)" if len(path) == 1 else f'{{"{name}": …}}'
                yield Problem(show_path((*path, name)), f"it stays {show(kept.value)}: {usual}; write {mend}")


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
        source: A file, a preset's name, plain values, classes of sections, or nothing.
        problems: Takes what is wrong with the bases.

    Returns:
        The layers, the lowest first, and the folder that the configuration is in.

    Raises:
        ConfigError: The source itself cannot be read.
    """
    if source is None:
        return [], Path.cwd()
    if isinstance(source, FlatSettings | list | tuple):
        source = _of_classes([source] if isinstance(source, FlatSettings) else source)
    if isinstance(source, Mapping):
        return _with_bases(from_python(source, Mark()), (), [], problems), Path.cwd()
    if isinstance(source, str) and not _names_file(source):
        path = preset_path(source)
        tree = _of_preset(read_tree(path, shown(path)))
    else:
        if not isinstance(source, str | bytes | os.PathLike):
            got = type(source).__name__
            raise _BadPath(f"config: expected a preset's name, a path, a mapping or a configuration, got {got}")
        path = usable(source, _BadPath)
        if not path.exists():
            near = did_you_mean(path.name, os.listdir(path.parent) if path.parent.is_dir() else [])  # noqa: PTH208
            raise ConfigError([Problem("", f"there is no file {str(source)!r}{near}")])
        tree = read_tree(path, str(source))
    return _with_bases(tree, (path.resolve(),), [], problems), path.parent.absolute()


def _of_classes(given: Sequence[Any]) -> dict[str, FlatSettings]:
    """Return what classes of sections set, by section.

    Args:
        given: An object of each.
    """
    expected = "config: expected one object of each section (OptimizerConfig(…), TrainingConfig(…)) in the list"
    found: dict[str, FlatSettings] = {}
    for each in given:
        if not isinstance(each, FlatSettings):
            mend = "a preset or a file is config itself, with sections beside it: training=TrainingConfig(…)"
            raise _BadPath(f"{expected}, got {type(each).__name__}; {mend}")
        if each.section_name in found:
            raise _BadPath(f"{expected}, got {type(each).__name__} twice; put both into one")
        found[each.section_name] = each
    return found


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


# What defaults.yaml holds beside a configuration: what `create_model` builds where its call does not say it.
FOR_MODELS = "create_model"


def read_defaults() -> Node:
    """Return configs/defaults.yaml as the layer under all others."""
    tree = _defaults()
    return Node({name: node for name, node in tree.value.items() if name != FOR_MODELS}, tree.mark)


def model_defaults() -> dict[str, Any]:
    """Return the section `model` that configs/defaults.yaml names for `create_model`."""
    found: dict[str, Any] = _defaults().value[FOR_MODELS].plain()
    return found


def _defaults() -> Node:
    file = configs_folder() / "defaults.yaml"
    return read_tree(file, shown(file))


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


def home_of(section: str, files: Sequence[Node], home: Mark) -> Mark:
    """Return where a user would add a setting to a section: in the last file of theirs that has it, or in any."""
    for layer in reversed(files):
        mark = layer.value[section].mark if section in layer.value else home
        if mark.file is not None and not mark.preset:
            return mark
    return home


def in_order(problems: list[Problem]) -> list[Problem]:
    """Return each problem once, by file in order of appearance, then by line."""
    files = {file: place for place, file in reversed(list(enumerate(problem.file for problem in problems)))}
    unique = dict.fromkeys(problems)
    return sorted(unique, key=lambda problem: (problem.file is None, files[problem.file], problem.line or 0))
