"""From marked trees to settings: no coercion, every problem collected with its file and line."""

from __future__ import annotations

import contextlib
import enum
import os
import re
import sys
import types
import typing
from collections import abc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from stepbus.base.components import Components, Selected
from stepbus.base.errors import PluginError, Problem, did_you_mean
from stepbus.base.paths import unusable
from stepbus.base.settings import Location, show, words
from stepbus.base.yaml_tree import Keys, Mark, Node, scalar
from stepbus.config import Suggestions


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


class Invalid(Exception):
    """A value was refused; the problem is on the list already."""


class Structurer:
    """Turns marked trees into settings without coercion, and collects every problem on the way.

    A structurer that knows path and mark at every value needs no translation of errors afterwards, which is why the
    types of YAML are handled here and only foreign ones (dates, UUIDs, typed dicts …) go to cattrs.
    """

    def __init__(self, components: Components | None = None) -> None:
        self.components = components
        self.providers = {(part.kind, part.name): provider for part, provider in components or ()}
        self.problems: list[Problem] = []
        self.suggestions = Suggestions({})
        # What was accepted and has no effect: a settings class says so itself, by a method `notes`.
        self.notes: list[Problem] = []
        self.label = ""
        # A plugin could not be loaded, so an unknown component may well be its, and has been reported with it.
        self.incomplete = False
        # Whether a value of --set may be taken as the text that was typed.
        self.as_typed = True

    def refuse(self, message: str, path: Keys, mark: Mark) -> Invalid:
        """Put one problem on the list; raise what is returned."""
        shown = _written(path, mark)
        label = f" ({self.label})" if self.label else ""
        self.problems.append(Problem(shown, message + label, mark.file, mark.line))
        return Invalid()

    def settings(self, cls: type, node: Node, path: Keys, label: str = "", ignore: tuple[str, ...] = ()) -> Any:
        """Return an instance of an attrs class, or None where a problem was found."""
        outer, self.label = self.label, label or self.label
        try:
            return self._class(cls, node, path, ignore)
        except Invalid:
            return None
        finally:
            self.label = outer

    def select(self, kind: str, node: Node, path: Keys, base: type | None = None) -> Selected:
        """Return the component that a name or a mapping with `type:` picks, with its settings.

        Args:
            kind: The component's kind.
            node: The name or the mapping.
            path: Where it stands.
            base: The class that all settings of this kind extend; where the component is unknown, what can be
                checked against it is.

        Raises:
            Invalid: A problem was found.
        """
        picked: Any = node.value.get("type", Node(None, node.mark)) if isinstance(node.value, dict) else node
        if not isinstance(picked.value, str):
            got = f"got {show(picked.value)}" if picked.value is not None else "got none"
            raise self.refuse(f"expected a name, or a mapping with type:, for the {kind}, {got}", path, picked.mark)
        assert self.components is not None
        try:
            part = self.components.get(kind, picked.value)
        except PluginError as error:
            if base is not None and isinstance(node.value, dict):
                names = {field.name for field in attrs.fields(base)}
                known = {key: item for key, item in node.value.items() if key in names}
                self.settings(base, Node(known, node.mark), path)
            if self.incomplete and not did_you_mean(picked.value, self.components.names(kind)):
                raise Invalid from None
            where = (*path, "type") if isinstance(node.value, dict) else path
            raise self.refuse(str(error), where, picked.mark) from None
        inner = node if isinstance(node.value, dict) else Node({}, node.mark)
        provider = self.providers.get((kind, part.name), "")
        found = len(self.problems)
        made = self.settings(part.config, inner, path, provider, ignore=("type",))
        if len(self.problems) > found:
            raise Invalid
        return Selected(part, made)

    def _class(self, cls: type, node: Node, path: Keys, ignore: tuple[str, ...]) -> Any:
        if not isinstance(node.value, dict):
            raise self.refuse(f"expected a mapping of settings, got {show(node.value)}", path, node.mark)
        try:
            hints = typing.get_type_hints(cls, include_extras=True)
        except (NameError, TypeError) as error:
            words = f"the types of {cls.__qualname__} cannot be looked up when it runs: {error}"
            raise self.refuse(words, path, node.mark) from error
        fields = {(field.alias or field.name): field for field in attrs.fields(cls) if field.init}
        found = len(self.problems)
        for key, item in list(node.value.items()):
            if key in fields or key in ignore:
                continue
            if item.mark.stale:
                del node.value[key]
                continue
            near = (
                self.suggestions.at(key, path, fields, item.value)
                or f"; known: {', '.join(fields) or 'none, there is nothing to set'}"
            )
            self.refuse(f"expected a known setting, got {key!r}{near}", (*path, key), item.mark)
        made = {}
        for key, field in fields.items():
            with contextlib.suppress(Invalid):
                made[key] = self._field(field, hints[field.name], node, key, path)
        if len(self.problems) > found:
            raise Invalid
        try:
            instance = cls(**{key: value for key, value in made.items() if value is not attrs.NOTHING})
            across = _said(instance, "problems")
            notes = _said(instance, "notes")
        except Exception as error:
            raise self.refuse(f"{cls.__qualname__} refuses its settings: {error}", path, node.mark) from error
        for name, message in across:
            self.refuse(message, (*path, name), node.value.get(name, node).mark)
        for name, message in notes:
            mark = node.value.get(name, node).mark
            self.notes.append(Problem(_written((*path, name), mark), message, mark.file, mark.line))
        return instance

    def _field(self, field: Any, hint: Any, node: Node, key: str, path: Keys) -> Any:
        metadata, here = field.metadata, (*path, key)
        kind = metadata.get("component") if self.components is not None else None
        if key not in node.value:
            if field.default is attrs.NOTHING:
                meaning = f" ({metadata['meaning']})" if metadata.get("meaning") else ""
                raise self.refuse(f"expected a value{meaning}, got none; it has no default", here, node.mark)
            if kind is None or not isinstance(field.default, str):
                return attrs.NOTHING
            return self.select(kind, Node(field.default, node.mark), here)
        item = node.value[key]
        if metadata.get("component"):
            if item.value is None and field.default is None:
                return None
            if kind is None:
                return item.plain()
            return self._several(kind, item, here) if metadata.get("many") else self.select(kind, item, here)
        value = self.value(hint, item, here)
        if metadata.get("location") and isinstance(value, str):
            self._usable(value, here, item.mark)
            value = resolve_place(value, item.mark, metadata["location"])
            node.value[key] = Node(value, item.mark)
        check = metadata.get("check")
        if check is None or value is None:
            return value
        try:
            fine = check(value)
        except Exception as error:
            raise self.refuse(f"its check raised {type(error).__name__}: {error}", here, item.mark) from error
        if not fine:
            raise self.refuse(f"expected {metadata.get('expected')}, got {show(item.value)}", here, item.mark)
        return value

    def _usable(self, place: str, path: Keys, mark: Mark) -> None:
        """Refuse a text that can be no path, whatever would open it."""
        reason = unusable(place, mark.folder)
        if reason is not None:
            raise self.refuse(reason, path, mark)

    def _several(self, kind: str, node: Node, path: Keys) -> tuple[Selected, ...]:
        if not isinstance(node.value, list):
            raise self.refuse(f"expected a list of {kind} names, got {show(node.value)}", path, node.mark)
        return tuple(self._each(node.value, path, lambda item, here: self.select(kind, item, here)))

    def _each(self, nodes: list[Node], path: Keys, make: Callable[[Node, Keys], Any]) -> list[Any]:
        """Make every item, so that one bad item does not hide the next."""
        made, failed = [], False
        for index, item in enumerate(nodes):
            try:
                made.append(make(item, (*path, index)))
            except Invalid:
                failed = True
        if failed:
            raise Invalid
        return made

    def value(self, hint: Any, node: Node, path: Keys) -> Any:
        """Return a value of the hinted type.

        Raises:
            Invalid: It is of another type.
        """
        value, origin, arguments = node.value, typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Annotated:
            return self.value(arguments[0], node, path)
        if hint is typing.Any or hint is object:
            return node.plain()
        if origin in (typing.Union, types.UnionType):
            return self._union(arguments, node, path)
        if hint in (int, bool, None, type(None)):
            if type(value) is (type(None) if hint is None else hint):
                return value
        elif hint is float:
            if type(value) in (int, float):
                if not abs(value) <= sys.float_info.max:
                    raise self.refuse(f"expected a finite number, got {show(value)}", path, node.mark)
                return float(value)
        elif hint is str or hint is Path:
            if self.as_typed and node.mark.text is not None and value is not None:
                value = node.mark.text
            if isinstance(value, str) and hint is Path:
                self._usable(value, path, node.mark)
                return Path(resolve_place(value, node.mark, "file"))
            if isinstance(value, str):
                return value
        elif origin is typing.Literal or (isinstance(hint, type) and issubclass(hint, enum.Enum)):
            return self._choice(hint, node, path)
        elif isinstance(hint, type) and attrs.has(hint):
            return self._class(hint, node, path, ())
        elif (origin or hint) in (list, tuple, set, frozenset, abc.Sequence, abc.Set):
            if isinstance(value, list):
                return self._list(origin or hint, arguments, node, path)
        elif (origin or hint) in (dict, abc.Mapping):
            if isinstance(value, dict):
                return self._dict(arguments or (str, typing.Any), node, path)
        else:
            return self._foreign(hint, node, path)
        raise self.refuse(f"expected {words(hint)}, got {show(value)}", path, node.mark)

    def _union(self, members: tuple[Any, ...], node: Node, path: Keys) -> Any:
        if node.value is None and type(None) in members:
            return None
        others = [member for member in members if member is not type(None)]
        if len(others) == 1:
            return self.value(others[0], node, path)
        # What was typed after --set is text only if nothing else fits.
        for as_typed in (False, True) if self.as_typed else (False,):
            for member in others:
                with contextlib.suppress(Invalid):
                    return self._attempt(member, node, path, as_typed)
        fitting = [member for member in others if _holds(member, node.value)]
        if len(fitting) == 1:
            return self.value(fitting[0], node, path)
        expected = " or ".join(words(member) for member in others)
        raise self.refuse(f"expected {expected}, got {show(node.value)}", path, node.mark)

    def _attempt(self, hint: Any, node: Node, path: Keys, as_typed: bool) -> Any:
        found, outer = len(self.problems), self.as_typed
        self.as_typed = as_typed
        try:
            return self.value(hint, node, path)
        except Invalid:
            del self.problems[found:]
            raise
        finally:
            self.as_typed = outer

    def _choice(self, hint: Any, node: Node, path: Keys) -> Any:
        choices: list[Any] = [*hint] if isinstance(hint, enum.EnumMeta) else [*typing.get_args(hint)]
        for choice in choices:
            plain = choice.value if isinstance(choice, enum.Enum) else choice
            if type(plain) is type(node.value) and plain == node.value:
                return choice
        near = did_you_mean(node.value, map(_plain_choice, choices)) if isinstance(node.value, str) else ""
        raise self.refuse(f"expected {words(hint)}, got {show(node.value)}{near}", path, node.mark)

    def _list(self, kind: Any, arguments: tuple[Any, ...], node: Node, path: Keys) -> Any:
        make: Any = {tuple: tuple, set: set, frozenset: frozenset, abc.Set: frozenset}.get(kind) or list
        if kind is tuple and arguments and arguments[-1] is not Ellipsis:
            if len(node.value) != len(arguments):
                message = f"expected a list of {len(arguments)}, got one of {len(node.value)}"
                raise self.refuse(message, path, node.mark)
            hints = dict(enumerate(arguments))
            return tuple(self._each(node.value, path, lambda item, here: self.value(hints[int(here[-1])], item, here)))
        hint = arguments[0] if arguments else typing.Any
        return make(self._each(node.value, path, lambda item, here: self.value(hint, item, here)))

    def _dict(self, arguments: tuple[Any, ...], node: Node, path: Keys) -> dict[Any, Any]:
        made, failed = {}, False
        for key, item in node.value.items():
            try:
                here = (*path, key)
                name = key if arguments[0] is str else self.value(arguments[0], Node(scalar(key), item.mark), here)
                made[name] = self.value(arguments[1], item, here)
            except Invalid:
                failed = True
        if failed:
            raise Invalid
        return made

    def _foreign(self, hint: Any, node: Node, path: Keys) -> Any:
        from cattrs.preconf.json import make_converter

        try:
            return make_converter(forbid_extra_keys=True).structure(node.plain(), hint)
        except Exception as error:
            message = f"expected {words(hint)}, got {show(node.value)}: {error}"
            raise self.refuse(message, path, node.mark) from error


def _written(path: Keys, mark: Mark) -> str:
    return show_path(path) + (f" (written {mark.written})" if mark.written else "")


def _said(settings: Any, kind: str) -> list[tuple[str, str]]:
    """Return what settings say of themselves, where their class has such a method."""
    say = getattr(settings, kind, None)
    return list(say()) if callable(say) else []


def _plain_choice(choice: Any) -> str:
    return str(choice.value if isinstance(choice, enum.Enum) else choice)


def _holds(hint: Any, value: Any) -> bool:
    """Say whether a collection is of the hinted shape, whatever is in it."""
    kind = typing.get_origin(hint) or hint
    if isinstance(value, dict):
        return isinstance(kind, type) and (attrs.has(kind) or issubclass(kind, abc.Mapping))
    return isinstance(value, list) and kind in (list, tuple, set, frozenset, abc.Sequence, abc.Set)
