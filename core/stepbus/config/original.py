"""What configs/original.yaml says of the original module's flat classes and of its values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import attrs

from stepbus.base import Components, Problem, listed, show
from stepbus.base.trees import Keys, Node, read_tree
from stepbus.config.discovery import configs_folder
from stepbus.config.suggestions import setting_names


@cache
def table() -> dict[str, Any]:
    """Return configs/original.yaml."""
    found: dict[str, Any] = read_tree(configs_folder() / "original.yaml").plain()
    return found


def value_spellings() -> dict[str, dict[str, str]]:
    """Return setting -> a value as the original writes it -> as it is meant here."""
    found: dict[str, dict[str, str]] = table()["values"]
    return found


def give_way(section: str, node: Node, notes: list[Problem]) -> Node:
    """Return what a flat class set, without usual values that another setting of the same call excludes.

    Args:
        section: Its section.
        node: What was set, as a mapping.
        notes: Takes what has no effect and looks as if it had one.
    """
    found = dict(node.value)
    for rule in table()["gives_way"]:
        name, beside = rule["setting"], found.get(rule.get("beside"))
        if rule["section"] != section or name not in found or not found[name].mark.flat:
            continue
        if not _usual(section, name, found[name].value):
            continue
        if "beside" not in rule:
            del found[name]
        elif beside is None or beside.value in (None, 0, rule.get("other_than")):
            continue
        elif "leaves" in rule:
            said = f"{show(found[name].value)} has no effect beside {rule['beside']}: {show(beside.value)}"
            notes.append(Problem(f"{section}.{name}", f"{said}; leave one of them out"))
            found[name] = Node(rule["leaves"], found[name].mark)
        else:
            del found[name]
    return Node(found, node.mark)


def leave_out(tree: Node, classes: Mapping[Keys, type], components: Components) -> list[Problem]:
    """Take out of a tree the usual values, set in a flat class, of settings that the component picked has not.

    Args:
        tree: The whole configuration.
        classes: Path of a section -> the class of its settings.
        components: What there is to pick.

    Returns:
        What is to be said of those that were set without a `type` beside them.
    """
    said: list[Problem] = []
    for section, node in tree.value.items():
        if not isinstance(node.value, dict) or (section,) not in classes:
            continue
        known, picked = ["type", *setting_names(classes[section,])], node.value.get("type")
        for name in [name for name, item in node.value.items() if item.mark.flat and name not in known]:
            defaults = {part.name: _default(part.config, name) for part, _ in components if part.kind == section}
            having = [part for part, default in defaults.items() if default is not attrs.NOTHING]
            value = node.value[name].value
            if not having or not (_usual(section, name, value) or any(_same(defaults[part], value) for part in having)):
                continue
            del node.value[name]
            if picked is not None and not picked.mark.flat:
                words = f"it has no effect with type: {picked.value}; it is a setting of {listed(having, 'or')}"
                said.append(Problem(f"{section}.{name}", words))
    return said


def spell_values(tree: Node, metrics: list[str]) -> None:
    """Write values of a tree that the original spells otherwise as ours.

    Args:
        tree: The whole configuration.
        metrics: The names of all metrics.
    """
    for path, spellings in value_spellings().items():
        *outer, name = path.split(".")
        inside: Any = tree
        for key in outer:
            inside = inside.value.get(key) if inside is not None and isinstance(inside.value, dict) else None
        if inside is None or not isinstance(inside.value, dict) or name not in inside.value:
            continue
        node = inside.value[name]
        if isinstance(node.value, str) and (meant := _meant(node.value, spellings, metrics)) is not None:
            inside.value[name] = Node(meant, attrs.evolve(node.mark, text=None))


def _meant(value: str, spellings: Mapping[str, str], metrics: list[str]) -> str | None:
    """Return what a value stands for, or None where it stands for itself."""
    for written, meant in spellings.items():
        before, star, _ = written.partition("*")
        if not star and value == written:
            return meant
        if written == "*" and value in metrics:
            return meant.replace("*", value)
        if before and star and value.startswith(before) and len(value) > len(before):
            return meant.replace("*", value.removeprefix(before))
    return None


def _usual(section: str, name: str, value: Any) -> bool:
    usual = table()["usual"].get(section, {})
    return name in usual and _same(usual[name], value)


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, and both or neither of them is a truth value."""
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _default(cls: type, name: str) -> Any:
    """Return the default of a setting of a class; NOTHING where it has no such setting."""
    fields = {field.alias: field for field in attrs.fields(cls)} if attrs.has(cls) else {}
    field = fields.get(name)
    return attrs.NOTHING if field is None or not field.init else field.default
