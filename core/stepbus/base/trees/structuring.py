"""From marked trees to settings: cattrs makes the objects, and every fault is told at once with its file and line."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, TypeVar

import attrs
from attrs import frozen
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, make_dict_structure_fn_from_attrs
from cattrs.gen.typeddicts import make_dict_structure_fn as make_typed_dict_fn

from stepbus.base import Components, ConfigError, PluginError, Problem, Selected, did_you_mean, error_words, show
from stepbus.base.trees.python_tree import from_python
from stepbus.base.trees.single_precision import beyond_float32
from stepbus.base.trees.typed_values import CONVERTER, Given, Invalid, Near, called_here, collecting, near_name, typed
from stepbus.base.trees.yaml_tree import Mark, Node

T = TypeVar("T")


def structure(
    cls: type[T],
    tree: Mapping[str, Any] | Node,
    *,
    path: str = "",
    components: Components | None = None,
    label: str = "",
    near: Near = near_name,
) -> T:
    """Return an instance of a Config class from plain or marked values.

    Args:
        cls: An attrs class.
        tree: Its settings by name.
        path: Where they stand, for messages.
        components: What `component` settings may pick; without it they keep the bare name.
        label: Whose settings they are, for messages: "early_stopping, stepbus 0.1.0".
        near: Says what may be meant by an unknown name.

    Raises:
        ConfigError: Every problem at once.
    """
    keys = tuple(path.split(".")) if path else ()
    try:
        given = Given(from_python(tree, Mark(), path), keys, label=label, components=components, near=near)
        return typing.cast(T, make_settings(given, cls))
    except Invalid as error:
        raise ConfigError(error.problems) from error


def make_settings(given: Given, cls: type, ignore: tuple[str, ...] = ()) -> Any:
    """Return an instance of an attrs class.

    Args:
        given: A mapping; resolved places are written into it, and names that were meant for another `type:` go.
        cls: The class.
        ignore: Names in it that are somebody else's.

    Raises:
        Invalid: It has problems, all of them.
    """
    tree = given.node.value
    if not isinstance(tree, dict):
        raise given.refused(f"expected a mapping of settings, got {show(tree)}")
    if not attrs.has(cls):
        name = getattr(cls, "__qualname__", repr(cls))
        raise given.refused(f"{name} is no attrs class: write @define(frozen=True, kw_only=True) above it")
    try:
        known, make = _settings_of(cls)
    except (NameError, TypeError) as error:
        raise given.refused(f"the types of {cls.__qualname__} cannot be looked up when it runs: {error}") from error
    for key in [key for key, item in tree.items() if item.mark.stale and key not in (*known, *ignore)]:
        del tree[key]
    values = {key: given.inner(key) for key in tree if key in known or key not in ignore}
    for key, each in known.items():
        picks = each.kind and (isinstance(each.field.default, str) or each.field.metadata.get("by_name"))
        if key not in tree and given.components is not None and picks:
            values[key] = given.inner(key, each.field.default)
    try:
        made = make(values, cls)
    except ClassValidationError as error:
        raise Invalid(_faults(error, given, known)) from error
    try:
        across, notes = _said(made, "problems"), _said(made, "notes")
    except Exception as error:
        raise given.refused(f"{cls.__qualname__} refuses its settings: {error}") from error
    given.notes.extend(attrs.evolve(given.inner(name), label="").problem(message) for name, message in notes)
    if across:
        raise Invalid(given.inner(name).problem(message) for name, message in across)
    return made


def select(given: Given, kind: str, base: type | None = None) -> Selected:
    """Return the component that a name or a mapping with `type:` picks, with its settings.

    Args:
        given: The name or the mapping.
        kind: The component's kind.
        base: The class that all settings of this kind extend; where the component is unknown, what can be
            checked against it is.

    Raises:
        Invalid: It has problems, all of them.
    """
    node, nested = given.node, isinstance(given.node.value, dict)
    picked = node.value.get("type", Node(None, node.mark)) if nested else node
    if not isinstance(picked.value, str):
        got = f"got {show(picked.value)}" if picked.value is not None else "got none"
        message = f"expected a name, or a mapping with type:, for the {kind}, {got}"
        raise attrs.evolve(given, node=picked).refused(message)
    assert given.components is not None
    try:
        part = given.components.get(kind, picked.value)
    except PluginError as error:
        problems: list[Problem] = []
        if nested and base is not None:
            shared = {each.alias: node.value[each.alias] for each in attrs.fields(base) if each.alias in node.value}
            with collecting(problems):
                make_settings(attrs.evolve(given, node=Node(shared, node.mark)), base)
        if not given.incomplete or did_you_mean(picked.value, given.components.names(kind)):
            problems.append((given.inner("type") if nested else given).problem(str(error)))
        raise Invalid(problems) from None
    label = given.components.provider(part) or given.label
    if problem := part.unfit(base):
        raise Invalid([given.components.misfit(part, problem)])
    inner = attrs.evolve(given, node=node if nested else Node({}, node.mark), label=label)
    called = called_here(inner, part.config) if kind == "metric" else ""
    ignore = ("type", "name") if called else ("type",)
    return Selected(part, make_settings(inner, part.config, ignore), label, called)


@frozen(eq=False)
class _Setting:
    """One setting of a class, which stands as its attribute's type, so that cattrs asks for its hook.

    Args:
        name: How a file writes it.
        hint: Its type.
        field: The attrs field.
    """

    name: str
    hint: Any
    field: Any

    @property
    def kind(self) -> str | None:
        """The kind of component that it picks, if it does."""
        return typing.cast("str | None", self.field.metadata.get("component"))

    @property
    def meaning(self) -> str:
        """What it does, in brackets."""
        meaning = self.field.metadata.get("meaning")
        return f" ({meaning})" if meaning else ""


@CONVERTER.register_structure_hook_factory(lambda hint: isinstance(hint, _Setting))
def _hook(setting: _Setting) -> Callable[[Given, Any], Any]:
    return lambda given, _: _picked(given, setting, setting.kind) if setting.kind else _checked(given, setting)


def _picked(given: Given, setting: _Setting, kind: str) -> Any:
    """Return the component that a setting picks, or several; without a registry, what was written."""
    value = given.node.value
    if given.components is None:
        return given.node.plain()
    if setting.field.metadata.get("by_name"):
        return _each_by_name(given, kind)
    if value is None and setting.field.default is None:
        return None
    if not setting.field.metadata.get("many"):
        return select(given, kind)
    if not isinstance(value, list):
        raise given.refused(f"expected a list of {kind} names, got {show(value)}")
    return tuple(given.each(lambda item: select(item, kind)))


def _each_by_name(given: Given, kind: str) -> dict[str, Selected]:
    """Return every component of a kind, with the settings that stand under its name."""
    given = attrs.evolve(given, node=Node({}, given.node.mark)) if given.node.value is None else given
    written = given.node.value
    if not isinstance(written, dict):
        raise given.refused(f"expected a mapping from the name of a {kind} to its settings, got {show(written)}")
    assert given.components is not None
    known, problems, made = given.components.names(kind), list[Problem](), {}
    for name in [name for name in written if name not in known and not given.incomplete]:
        said = f"expected the name of a {kind}, got {show(name)}{given.components.nearest(kind, name)}"
        problems.append(given.inner(name).problem(said))
    for name in known:
        part = given.components.get(kind, name)
        label = given.components.provider(part)
        with collecting(problems):
            inner = attrs.evolve(given.inner(name), label=label)
            if problem := part.unfit():
                raise Invalid([given.components.misfit(part, problem)])
            if inner.node.value is None:
                inner = attrs.evolve(inner, node=Node({}, inner.node.mark))
            settings = make_settings(inner, part.config, ignore=("type",))
            if inner.node.value.get("type", Node(name)).value != name:
                raise inner.inner("type").refused(
                    f"expected {name}, or nothing, got {inner.node.value['type'].value!r}"
                )
            made[name] = Selected(part, settings, label)
    if problems:
        raise Invalid(problems)
    return made


def _checked(given: Given, setting: _Setting) -> Any:
    """Return a value of a setting's type, its place resolved, its check passed."""
    about, value = setting.field.metadata, typed(given, setting.hint)
    if about.get("location") and isinstance(value, str) and given.outer is not None:
        value = given.place(value, about["location"])
        given.outer.value[setting.name] = Node(value, given.node.mark)
    check = about.get("check")
    try:
        fine = check is None or value is None or check(value)
    except Exception as error:
        raise given.refused(f"its check raised {error_words(error)}") from error
    if not fine:
        raise given.refused(f"expected {about.get('expected')}, got {show(given.node.value)}")
    if wrong := beyond_float32(value, setting.hint, setting.field.default):
        raise given.refused(wrong)
    return value


CONVERTER.register_structure_hook_func(lambda hint: isinstance(hint, type) and attrs.has(hint), make_settings)


@cache
def _settings_of(cls: type) -> tuple[dict[str, _Setting], Callable[[Mapping[str, Given], Any], Any]]:
    """Return the settings of a class by name, and what cattrs makes an instance with."""
    hints = typing.get_type_hints(cls)
    known = {each.alias: _Setting(each.alias, hints[each.name], each) for each in attrs.fields(cls) if each.init}
    variables = {each.__name__: Any for each in getattr(cls, "__parameters__", ())}
    fields = [each.field.evolve(type=each) for each in known.values()]
    return known, make_dict_structure_fn_from_attrs(
        fields, cls, CONVERTER, variables, _cattrs_forbid_extra_keys=True, _cattrs_use_alias=True
    )


@cache
def _record_maker(cls: Any) -> Callable[[dict[str, Given], Any], Any]:
    make = make_dict_structure_fn if dataclasses.is_dataclass(cls) else make_typed_dict_fn
    return make(cls, CONVERTER, _cattrs_forbid_extra_keys=True)


def _record(given: Given, cls: Any) -> Any:
    """Return a data class or a typed dictionary, as strict as settings are."""
    if not isinstance(given.node.value, dict):
        raise given.unlike(cls)
    try:
        make = _record_maker(cls)
    except Exception as error:  # a name that cannot be looked up, or a type without arguments
        raise given.unlike(cls, f": {error}") from error
    try:
        return make({key: given.inner(key) for key in given.node.value}, cls)
    except ClassValidationError as error:
        raise Invalid(_faults(error, given, typing.get_type_hints(cls))) from error


CONVERTER.register_structure_hook_func(
    lambda hint: isinstance(hint, type) and (dataclasses.is_dataclass(hint) or typing.is_typeddict(hint)), _record
)


def _faults(error: ClassValidationError, given: Given, known: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what cattrs found when it made a class: unknown names first, then setting by setting."""
    noted, others = error.group_exceptions()
    for each in others:
        if not isinstance(each, ForbiddenExtraKeysError):
            yield given.problem(f"{error.cl.__qualname__} refuses its settings: {each}")
            continue
        for item in (given.inner(key) for key in given.node.value if key in each.extra_fields):
            name = str(item.path[-1])
            near = given.near(name, given.path, known, item.node.value)
            near = near or f"; known: {', '.join(known) or 'none, there is nothing to set'}"
            yield item.problem(f"expected a known setting, got {name!r}{near}")
    for each, note in noted:
        if isinstance(each, Invalid):
            yield from each.problems
        else:  # a KeyError: nobody gave it
            name, meaning = (note.type.name, note.type.meaning) if isinstance(note.type, _Setting) else (note.name, "")
            yield given.inner(name).problem(f"expected a value{meaning}, got none; it has no default")


def _said(made: Any, kind: str) -> list[tuple[str, str]]:
    """Return what settings say of themselves, where their class has such a method."""
    say = getattr(made, kind, None)
    return list(say()) if callable(say) else []
