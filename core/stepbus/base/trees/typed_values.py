"""One marked value as a value of a type, without coercion: the hooks that cattrs calls for everything but classes."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
import os
import re
import shlex
import sys
import types
import typing
from collections import abc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen
from cattrs import Converter
from cattrs.preconf.json import make_converter

from stepbus.base import Components, Location, Problem, by_scheme, did_you_mean, show, unusable, words
from stepbus.base.trees.yaml_tree import Keys, Mark, Node, scalar

# What may be meant by a name that is no setting: the name, where it stands, the names known there, its value.
Near = Callable[[str, Keys, Iterable[str], Any], str]
CONVERTER = Converter(detailed_validation=True)
_FOREIGN = make_converter(forbid_extra_keys=True)
_LISTS: dict[Any, type] = {
    **{kind: kind for kind in (list, tuple, set, frozenset, collections.deque)},
    **dict.fromkeys((abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable), list),
    abc.Set: frozenset,
    abc.MutableSet: set,
}
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)


class Invalid(Exception):
    """A value was refused.

    Args:
        problems: Why; none where it is told elsewhere.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        super().__init__()
        self.problems = list(problems)


@contextmanager
def collecting(problems: list[Problem]) -> Iterator[None]:
    """Put what is refused inside on a list, and go on after it."""
    try:
        yield
    except Invalid as error:
        problems += error.problems


def near_name(name: str, path: Keys, own: Iterable[str], value: Any) -> str:
    """Return " (did you mean …?)" for a name that is no setting, if one that may stand there is near."""
    return did_you_mean(name, own)


@frozen(eq=False)
class Given:
    """A value on its way from the tree to a setting, as cattrs hands it from hook to hook.

    Args:
        node: The value with its mark.
        path: Where it stands.
        outer: The list or mapping that it stands in.
        label: Whose settings it is among, for messages.
        components: What settings may pick; without it they keep the bare name.
        near: Says what may be meant by an unknown name.
        incomplete: A plugin could not be loaded, so that an unknown component may well be its, and is not reported.
        as_typed: Whether a value of --set may be taken as the text that was typed.
        notes: Takes what is accepted and has no effect: a settings class says so itself, by a method `notes`.
    """

    node: Node
    path: Keys = ()
    outer: Node | None = None
    label: str = ""
    components: Components | None = None
    near: Near = near_name
    incomplete: bool = False
    as_typed: bool = True
    notes: list[Problem] = field(factory=list)

    def inner(self, key: str | int, default: Any = None) -> Given:
        """Return the value that stands here under a name or number, or another that is marked as this one is."""
        try:
            node = self.node.value[key]
        except KeyError:
            node = Node(default, self.node.mark)
        return attrs.evolve(self, node=node, path=(*self.path, key), outer=self.node)

    def each(self, make: Callable[[Given], Any]) -> list[Any]:
        """Make every item of a list or mapping, so that one bad item does not hide the next."""
        value = self.node.value
        made, problems = [], list[Problem]()
        for key in value if isinstance(value, dict) else range(len(value)):
            with collecting(problems):
                made.append(make(self.inner(key)))
        if len(made) < len(value):
            raise Invalid(problems)
        return made

    def problem(self, message: str) -> Problem:
        """Return what is wrong with the value, with its path as the user wrote it, its file and its line."""
        mark = self.node.mark
        written = f" (written {mark.written})" if mark.written else ""
        label = f" ({self.label})" if self.label else ""
        return Problem(show_path(self.path) + written, message + label, mark.file, mark.line)

    def refused(self, message: str) -> Invalid:
        """Return the error of a value that one thing is wrong with."""
        return Invalid([self.problem(message)])

    def unlike(self, hint: Any, more: str = "") -> Invalid:
        """Return the error of a value that is not of a type."""
        return self.refused(f"expected {words(hint)}, got {show(self.node.value)}{more}")

    def place(self, text: str, location: Location) -> str:
        """Return a text of here as the place that it names; what can be no path is refused."""
        if location == "rows" and (named := by_scheme(text, [part for part, _ in self.components or ()])) is not None:
            return text if not named.path else named.moved(self.place(named.path, "file"))
        if reason := unusable(text, self.node.mark.folder):
            raise self.refused(reason)
        return resolve_place(text, self.node.mark, location)


def show_path(path: Keys) -> str:
    """Return a path as messages name it: plugins.early_stopping.patience, training.metrics[1]."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def resolve_place(text: str, mark: Mark, location: Location) -> str:
    """Return a path as absolute, from the folder of the file that holds it; other places stay as they are."""
    if location == "output" or not text or re.match(r"[A-Za-z][\w+.-]+:", text):
        return text
    folder = mark.folder or Path.cwd()
    expanded = os.path.expanduser(text) if text.startswith("~") else text  # noqa: PTH111 - Path would raise
    place = os.path.normpath(folder / expanded)
    if location in ("source", "code") and not (text.startswith((".", "/", "~")) or Path(place).exists()):
        return text
    return place


def typed(given: Given, hint: Any) -> Any:
    """Return a value of the hinted type.

    Raises:
        Invalid: It is of another type.
    """
    return CONVERTER.structure(given, hint)


def called_here(given: Given, config: type) -> str:
    """Return the name that a metric is given besides; a setting of that name is its own."""
    if "name" not in given.node.value or any(each.alias == "name" for each in attrs.fields(config)):
        return ""
    found: str = typed(name := given.inner("name"), str)
    if not re.fullmatch(r"[A-Za-z][\w.-]*", found):
        raise name.refused(f"expected letters, digits, _, . and -, a letter first, got {show(found)}")
    return found


def _scalar(given: Given, hint: Any) -> Any:
    value = given.node.value
    if hint in (int, bool, None, types.NoneType):
        if type(value) is (hint or types.NoneType):
            return value
    elif hint is float:
        if type(value) in (int, float):
            if not abs(value) <= sys.float_info.max:
                raise given.refused(f"expected a finite number, got {show(value)}")
            return float(value)
    elif hint in (str, Path):
        written = given.node.mark.text
        # What was typed after --set stands as it is, but for what YAML's quotes keep: "" is an empty text.
        quoted = isinstance(value, str) and written is not None and written.lstrip()[:1] in ("'", '"')
        if given.as_typed and written is not None and value is not None and not quoted:
            value = written
        if isinstance(value, str):
            return value if hint is str else Path(given.place(value, "file"))
        if value is None and written is not None:
            what = "as a text, it" if written else "an empty text"
            setting = f"{show_path(given.path)}=" + json.dumps(written, ensure_ascii=False)
            raise given.unlike(hint, f"; {what} is written in quotes: {given.node.mark.file} {shlex.quote(setting)}")
    else:
        return _choice(given, hint) if issubclass(hint, enum.Enum) else _foreign(given, hint)
    raise given.unlike(hint)


# cattrs looks for these classes, and what extends them, before it asks for any other hook.
for _cls in (int, bool, float, str, bytes, Path, enum.Enum, types.NoneType):
    CONVERTER.register_structure_hook(_cls, _scalar)


@CONVERTER.register_structure_hook_factory(lambda hint: True)
def _hook(hint: Any) -> Callable[[Given, Any], Any]:
    """Return what makes a value of a type that is no scalar and no attrs class."""
    kind, base = typing.get_origin(hint) or hint, getattr(hint, "__supertype__", None)
    if hint in (Any, object):
        return lambda given, _: given.node.plain()
    if base is not None:  # a NewType
        return lambda given, _: typed(given, base)
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        items = types.GenericAlias(tuple, tuple(typing.get_type_hints(hint).values()))
        return lambda given, _: hint(*typed(given, items))
    if kind in _LISTS or kind in _MAPPINGS:
        return _list if kind in _LISTS else _mapping
    unions = dict.fromkeys((typing.Union, types.UnionType), _union)
    return {None: _scalar, typing.Literal: _choice, **unions}.get(kind, _foreign)


def _union(given: Given, hint: Any) -> Any:
    value, members = given.node.value, typing.get_args(hint)
    if value is None and types.NoneType in members:
        return None
    others = [member for member in members if member is not types.NoneType]
    # What was typed after --set is text only if nothing else fits.
    for as_typed in () if len(others) == 1 else (False, True) if given.as_typed else (False,):
        for member in others:
            with suppress(Invalid):
                return typed(attrs.evolve(given, as_typed=as_typed), member)
    fitting = [member for member in others if len(others) == 1 or _holds(member, value)]
    if len(fitting) == 1:
        return typed(given, fitting[0])
    raise given.refused(f"expected {' or '.join(map(words, others))}, got {show(value)}")


def _holds(hint: Any, value: Any) -> bool:
    """Say whether a collection is of the hinted shape, whatever is in it."""
    kind = typing.get_origin(hint) or hint
    if not isinstance(kind, type) or not isinstance(value, dict | list):
        return False
    if isinstance(value, list):
        return kind in _LISTS or issubclass(kind, tuple)
    return attrs.has(kind) or dataclasses.is_dataclass(kind) or issubclass(kind, abc.Mapping)


def _choice(given: Given, hint: Any) -> Any:
    value = given.node.value
    choices: list[Any] = [*hint] if isinstance(hint, enum.EnumMeta) else [*typing.get_args(hint)]
    written = [choice.value if isinstance(choice, enum.Enum) else choice for choice in choices]
    for choice, plain in zip(choices, written, strict=True):
        if type(plain) is type(value) and plain == value:
            return choice
    raise given.unlike(hint, did_you_mean(value, map(str, written)) if isinstance(value, str) else "")


def _list(given: Given, hint: Any) -> Any:
    kind, arguments, value = typing.get_origin(hint) or hint, typing.get_args(hint) or (Any,), given.node.value
    if not isinstance(value, list):
        raise given.unlike(hint)
    if kind is not tuple or arguments[-1] is Ellipsis or not typing.get_args(hint):
        items = given.each(lambda item: typed(item, arguments[0]))
        try:
            return _LISTS[kind](items)
        except TypeError as error:  # lists and mappings are no items of a set
            raise given.unlike(hint, f": {error}") from error
    if len(value) != len(arguments):
        raise given.refused(f"expected a list of {len(arguments)}, got one of {len(value)}")
    return tuple(given.each(lambda item: typed(item, arguments[int(item.path[-1])])))


def _mapping(given: Given, hint: Any) -> dict[Any, Any]:
    keys, values = typing.get_args(hint) or (str, Any)

    def pair(item: Given) -> tuple[Any, Any]:
        key = str(item.path[-1])
        name = key if keys is str else typed(attrs.evolve(item, node=Node(scalar(key), item.node.mark)), keys)
        return name, typed(item, values)

    if not isinstance(given.node.value, dict):
        raise given.unlike(hint)
    return dict(given.each(pair))


def _foreign(given: Given, hint: Any) -> Any:
    """Return a value of a type that YAML does not know, such as a date or a UUID."""
    try:
        return _FOREIGN.structure(given.node.plain(), hint)
    except Exception as error:
        raise given.unlike(hint, f": {error}") from error
