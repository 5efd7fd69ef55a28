"""JSON Schema of a configuration, from the same Config classes that check it.

It accepts what the loader accepts, and refuses misspelt names and wrong types. It sees one file: what a file extends
may give required settings, so none is required here; and it knows no `check`, whose words stand in the description.
"""

from __future__ import annotations

import enum
import re
import types
import typing
from collections import abc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from stepbus.author import declared, first_line
from stepbus.author.schema.spellings import Schema, add_spellings, key_of, reference_to
from stepbus.base import POLICIES, Component
from stepbus.base.trees import plain
from stepbus.config import BASES, COMPONENT_SECTIONS, FOR_MODELS, TOP_KEYS
from stepbus.config.discovery import LoadedPlugin

DRAFT = "https://json-schema.org/draft/2020-12/schema"


@frozen
class Fragment:
    """What one plugin adds to the schema, as JSON values.

    Args:
        name: The plugin's name.
        purpose: Its one line.
        settings: The schema of its settings; None where it takes none.
        components: (kind, name, schema of the settings) of each.
        problem: Why nothing is known of it.
        use: The class that was asked for in place of an installed one, "module:Class" or "file.py:Class".
    """

    name: str
    purpose: str = ""
    settings: Schema | None = None
    components: list[tuple[str, str, Schema]] = field(factory=list)
    problem: str = ""
    use: str = ""


def fragment(loaded: LoadedPlugin) -> Fragment:
    """Return what a loaded plugin adds to the schema."""
    settings = None if loaded.config_class is None else settings_schema(loaded.config_class)
    parts = [
        (str(part.kind), str(part.name), settings_schema(part.config))
        for part in loaded.components
        if isinstance(part, Component)
    ]
    return Fragment(loaded.name, first_line(loaded.cls), settings, parts)


def settings_schema(cls: Any, outer: tuple[Any, ...] = (), *, whole: bool = False) -> Schema:
    """Return the schema of a Config class.

    Args:
        cls: The class.
        outer: The classes that this one stands in; one that holds itself is described once.
        whole: No other layer adds to the value (it stands in a list), so that what has no default must be given.
    """
    if not (isinstance(cls, type) and attrs.has(cls)) or cls in outer:
        return {"type": "object"}
    schema: Schema = {"type": "object", "properties": {}, "additionalProperties": False}
    settings = declared(cls)
    for each in settings:
        if each.component and each.by_name:
            part = reference_to("settings by", each.component)
        elif each.component:
            part = _pick(each.component, each.many)
        else:
            part = value_schema(each.hint, (*outer, cls), whole=whole)
        if each.component and each.default is None:
            part = {"anyOf": [part, {"type": "null"}]}
        words = [each.meaning, f"({each.expected})" if each.expected else ""]
        if each.default is attrs.NOTHING:
            words.append("Must be given.")
        elif each.default not in (".inf", "-.inf", ".nan"):  # which JSON cannot write
            part = {**part, "default": each.default}
        description = " ".join(filter(None, words))
        schema["properties"][each.name] = {**({"description": description} if description else {}), **part}
    required = [each.name for each in settings if each.default is attrs.NOTHING]
    return {**schema, "required": required} if whole and required else schema


def _pick(kind: str, many: bool) -> Schema:
    reference = reference_to(kind)
    if not many:
        return reference
    # Items of a list are whole: no layer below could say their type.
    return {"type": "array", "items": {**reference, "if": {"type": "object"}, "then": {"required": ["type"]}}}


def value_schema(hint: Any, outer: tuple[Any, ...] = (), *, whole: bool = False) -> Schema:
    """Return the schema of a type, as `structuring` reads it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    kind = origin or hint
    if origin is typing.Annotated:
        return value_schema(arguments[0], outer, whole=whole)
    if origin in (typing.Union, types.UnionType):
        members = [value_schema(member, outer, whole=whole) for member in arguments]
        if all(set(member) == {"type"} and isinstance(member["type"], str) for member in members):
            return {"type": list(dict.fromkeys(member["type"] for member in members))}
        return {"anyOf": members}
    simple = {int: "integer", float: "number", bool: "boolean", str: "string", Path: "string", types.NoneType: "null"}
    if hint is None or (isinstance(hint, type) and hint in simple):
        return {"type": simple[types.NoneType if hint is None else hint]}
    if origin is typing.Literal or (isinstance(hint, type) and issubclass(hint, enum.Enum)):
        return {"enum": [plain(choice) for choice in (arguments if origin is typing.Literal else hint)]}
    if isinstance(hint, type) and attrs.has(hint):
        return settings_schema(hint, outer, whole=whole)
    if kind in (list, tuple, set, frozenset, abc.Sequence, abc.Set):
        return _array(kind, arguments, outer)
    if kind in (dict, abc.Mapping):
        return {
            "type": "object",
            "additionalProperties": value_schema((arguments or (str, Any))[1], outer, whole=whole),
        }
    return {}  # anything, or a foreign type that only cattrs can judge


def _array(kind: Any, arguments: tuple[Any, ...], outer: tuple[Any, ...]) -> Schema:
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        items = [value_schema(item, outer, whole=True) for item in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    return {"type": "array", "items": value_schema(arguments[0], outer, whole=True)} if arguments else {"type": "array"}


def configuration_schema(fragments: Iterable[Fragment]) -> Schema:
    """Return the schema of a whole configuration file.

    Args:
        fragments: What each plugin adds.
    """
    plugins = list(fragments)
    offered: dict[str, dict[str, Schema]] = {}
    for plugin in plugins:
        for kind, name, schema in plugin.components:
            offered.setdefault(kind, {}).setdefault(name, schema)
    definitions = {
        key_of(kind, name): {**schema, "properties": {**schema.get("properties", {})}}
        for kind, parts in offered.items()
        for name, schema in parts.items()
    }
    definitions |= {section: settings_schema(BASES[section]) for section in BASES if section not in COMPONENT_SECTIONS}
    definitions |= {key_of("plugin", plugin.name): _plugin(plugin) for plugin in plugins}
    add_spellings(definitions, offered)
    used = _missing(definitions)
    for kind, parts in offered.items():
        for name in parts:
            properties = definitions[key_of(kind, name)]["properties"]
            called: Schema = {"name": {"type": "string"}} if kind == "metric" else {}
            definitions[key_of(kind, name)]["properties"] = {"type": {"const": name}, **called, **properties}
        definitions[key_of(kind)] = _choice(kind, list(parts))
        if key_of("settings by", kind) in used:
            each = {name: {"anyOf": [reference_to(kind, name), {"type": "null"}]} for name in parts}
            definitions[key_of("settings by", kind)] = {
                "type": "object",
                "properties": each,
                "additionalProperties": False,
            }
    for kind in _missing(definitions):
        definitions[kind] = {"type": ["string", "object"], "$comment": f"no installed plugin offers a {kind}"}
    broken = [f"{plugin.name}: {plugin.problem}" for plugin in plugins if plugin.problem]
    return {
        "$schema": DRAFT,
        "title": "A configuration of stepbus",
        **({"$comment": "; ".join(broken)} if broken else {}),
        **_top(plugins),
        "$defs": definitions,
    }


def _top(plugins: list[Fragment]) -> Schema:
    text_or_list: Schema = {"type": ["string", "array", "null"], "items": {"type": "string", "minLength": 1}}
    settings = {plugin.name: reference_to("plugin", plugin.name) for plugin in plugins}
    named: Schema = {
        "type": ["object", "null"],
        "description": "Plugins by name, with their settings; {}, null and true mean the defaults, false switches off.",
        "properties": settings,
        "additionalProperties": {"type": ["object", "boolean", "null"]},
    }
    # Only what a file extends can have said before which class an unknown name stands for.
    own = {"const": False}, {"type": "object", "properties": {"use": {"type": "string"}}, "required": ["use"]}
    known: Schema = dict.fromkeys(settings, True)
    strict = {"plugins": {"properties": known, "additionalProperties": {"anyOf": [*own]}}}
    sections = {
        name: {"anyOf": [reference_to(name), {"type": "null"}], "description": first_line(base)}
        for name, base in BASES.items()
    }
    return {
        "type": "object",
        "properties": {
            "extends": {**text_or_list, "description": "The file or preset that this one changes, or a list of them."},
            **sections,
            "plugins": named,
            FOR_MODELS: {"type": "object", "description": "Of the defaults: what create_model starts from in Python."},
            "hooks": {**text_or_list, "minLength": 1, "description": "Modules or files of @hookimpl functions."},
            **{name: schema for name, schema in settings.items() if name not in TOP_KEYS},
        },
        "additionalProperties": False,
        "if": {"not": {"required": ["extends"]}},
        "then": {"properties": strict},
    }


def _plugin(plugin: Fragment) -> Schema:
    about: Schema = {"description": plugin.purpose} if plugin.purpose else {}
    switch: Schema = {"type": ["boolean", "null"]}
    common: Schema = {
        "use": {"type": ["string", "null"], "description": "A class in its place: module:Class or ./file.py:Class."},
        "on_error": {"enum": [*POLICIES], "description": "An exception in a hook ends the run, or switches it off."},
    }
    if plugin.problem:
        note = f"nothing is known of its settings: {plugin.problem}"
        return {**about, "$comment": note, "anyOf": [switch, {"type": "object", "properties": common}]}
    own = plugin.settings or {"type": "object", "properties": {}, "additionalProperties": False}
    strict = {**own, "properties": {**common, **own.get("properties", {})}}
    # With another class of one's own the settings are that class's.
    other: Schema = {"type": "string"}
    if plugin.use:
        other["not"] = {"pattern": re.sub(r"[^\w:/ -]", r"\\\g<0>", Path(plugin.use).name) + "$"}
    properties = {"use": other, "on_error": common["on_error"]}
    return {**about, "anyOf": [switch, strict, {"type": "object", "properties": properties, "required": ["use"]}]}


def _choice(kind: str, names: list[str]) -> Schema:
    """Return the schema of a place that picks a component: a name, or a mapping with `type:` and its settings."""
    references = {name: reference_to(kind, name) for name in names}
    picked = [
        {"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": reference}
        for name, reference in references.items()
    ]
    # Without a type it is that of the defaults or of what the file extends.
    untyped = {"if": {"not": {"required": ["type"]}}, "then": {"anyOf": [*references.values()]}}
    mapping = {"type": "object", "properties": {"type": {"enum": names}}, "allOf": [*picked, untyped]}
    return {"anyOf": [{"enum": names}, mapping]}


def _missing(schema: Any) -> set[str]:
    """Return the kinds that are referred to and that nothing defines."""

    def references(value: Any) -> Iterable[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"].removeprefix("#/$defs/")
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    return {name for name in references(schema) if name not in schema} | (set(COMPONENT_SECTIONS) - set(schema))
