"""A loaded plugin as plain data: its settings, hooks and components, and a YAML block to paste."""

from __future__ import annotations

import inspect
import json
import os
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from attrs import frozen

from stepbus.base import Selected, asks_of, claimed, listed, policy_of, words
from stepbus.base.trees import plain, to_yaml
from stepbus.config import BASES
from stepbus.config.discovery import LoadedPlugin

# A Config class may hold another, and that one itself again.
MAX_NESTING = 4


@frozen
class Declared:
    """One setting of a Config class.

    Args:
        name: How YAML names it.
        hint: Its type.
        default: A plain value that YAML can hold, or attrs.NOTHING for a setting that must be given.
        meaning: What it does.
        expected: Which values its check wants, in words.
        component: The kind that it picks by name, if it does.
        many: Whether it picks several.
        by_name: Whether it holds the settings of every component of the kind, by name.
    """

    name: str
    hint: Any
    default: Any
    meaning: str
    expected: str
    component: str | None
    many: bool
    by_name: bool = False

    @property
    def type(self) -> str:
        """Its type as messages name it."""
        if self.component is None:
            return words(self.hint)
        if self.by_name:
            return f"settings by {self.component}"
        return f"list of {self.component}s by name" if self.many else f"{self.component} by name"


def declared(cls: Any) -> list[Declared]:
    """Return the settings of a Config class, in order; none for a class that is no attrs class."""
    if not (isinstance(cls, type) and attrs.has(cls)):
        return []
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except Exception:  # a name that cannot be looked up; `plugins doctor` says so
        hints = {}
    found = []
    for field in attrs.fields(cls):
        if field.init:
            about = field.metadata
            found.append(
                Declared(
                    field.alias or field.name,
                    hints.get(field.name, field.type if isinstance(field.type, type) else Any),
                    default_of(field),
                    " ".join(str(about.get("meaning") or "").split()),
                    str(about.get("expected") or ""),
                    about.get("component"),
                    bool(about.get("many")),
                    bool(about.get("by_name")),
                )
            )
    return found


def default_of(field: Any) -> Any:
    """Return the default of an attrs field as a plain value, or attrs.NOTHING."""
    default = field.default
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # attrs types it as a function
        if default.takes_self:
            return attrs.NOTHING
        default = default.factory()
    return default if default is attrs.NOTHING else plain(default, finite=True)


def implemented(cls: Any) -> list[tuple[str, str, Any]]:
    """Return (method, hook, function) for each method that is marked as a hook implementation, in the code's order."""
    found = []
    for name in dir(cls):
        function = inspect.getattr_static(cls, name, None)
        function = getattr(function, "__func__", function)
        options = getattr(function, "stepbus_impl", None)
        if isinstance(options, dict) and callable(function):
            found.append((name, options.get("specname") or name, function))
    return sorted(found, key=lambda item: getattr(getattr(item[2], "__code__", None), "co_firstlineno", 0))


def arguments_of(function: Any) -> list[str]:
    """Return the arguments of a hook implementation, without self."""
    return [name for name in inspect.signature(function).parameters if name not in ("self", "cls")]


def describe(loaded: LoadedPlugin, use: str | None = None) -> dict[str, Any]:
    """Return everything that `plugins show` tells of a plugin, as JSON values.

    Args:
        loaded: The plugin.
        use: The class as the user named it, where no entry point does.
    """
    cls = loaded.cls
    return {
        "name": loaded.name,
        "distribution": loaded.distribution,
        "version": loaded.version,
        "source": loaded.origin,
        "purpose": first_line(cls),
        "class": f"{getattr(cls, '__module__', '')}:{getattr(cls, '__qualname__', type(cls).__name__)}",
        "file": file_of(cls),
        "scope": loaded.scope,
        "affects_result": loaded.affects_result,
        "asks": list(asks_of(cls, loaded.label)),
        "on_error": policy_of(cls, loaded.label),
        "requires_hooks": getattr(cls, "requires_hooks", None),
        "settings": list(_settings(loaded.config_class)),
        "hooks": [{"name": hook, "arguments": arguments_of(function)} for _, hook, function in implemented(cls)],
        "components": [_component(part, loaded) for part in loaded.components if hasattr(part, "config")],
        "yaml": yaml_block(loaded, use),
    }


def _component(part: Any, loaded: LoadedPlugin) -> dict[str, Any]:
    # A class of settings that several parts share says nothing of this one.
    alone = [getattr(other, "config", None) for other in loaded.components].count(part.config) == 1
    purpose = first_line(part.config) if alone else ""
    claims = claimed(part.kind, part.metadata)
    settings, purpose = list(_settings(part.config)), listed(claims) if claims else purpose
    return {"kind": part.kind, "name": part.name, "purpose": purpose, "claims": claims, "settings": settings}


def first_line(cls: Any) -> str:
    """Return the first line of a class's own docstring, or nothing."""
    text = inspect.cleandoc(vars(cls).get("__doc__") or "") if isinstance(cls, type) else ""
    # attrs and dataclasses may write a signature in place of a docstring that is not there.
    return "" if text.startswith(f"{getattr(cls, '__name__', '')}(") else text.partition("\n")[0]


def file_of(cls: Any) -> str | None:
    """Return the file that a class is written in."""
    try:
        return inspect.getsourcefile(cls)
    except (TypeError, OSError):
        return None


def _settings(cls: Any, prefix: str = "", depth: int = 0) -> Iterator[dict[str, Any]]:
    for each in declared(cls):
        required = each.default is attrs.NOTHING
        yield {
            "name": prefix + each.name,
            "type": each.type,
            "required": required,
            "default": None if required else each.default,
            "meaning": each.meaning,
            "expected": each.expected,
        }
        for inner in inner_classes(each.hint):
            if depth < MAX_NESTING and inner is not cls:
                yield from _settings(inner, f"{prefix}{each.name}.", depth + 1)


def inner_classes(hint: Any) -> list[type]:
    """Return the attrs classes that a type allows as a mapping: itself, or members of a union."""
    if typing.get_origin(hint) is None:
        return [hint] if isinstance(hint, type) and attrs.has(hint) and hint is not Selected else []
    if typing.get_origin(hint) in (typing.Union, type(int | None), typing.Annotated):
        return [cls for member in typing.get_args(hint) for cls in inner_classes(member)]
    return []


def yaml_block(loaded: LoadedPlugin, use: str | None = None) -> str:
    """Return YAML that switches the plugin on with its default settings, and picks its first component of each kind.

    Args:
        loaded: The plugin.
        use: The class as the user named it, where no entry point does.
    """
    lines = [(f"    use: {_value(use)}", "")] if use else []
    for each in declared(loaded.config_class):
        if each.default is attrs.NOTHING:
            lines.append((f"    {each.name}:", f"must be given: {each.meaning or each.type}"))
        else:
            lines.append((f"    {each.name}: {_value(each.default)}", each.meaning))
    width = min(max((len(line) for line, _ in lines), default=0), 40)
    body = [f"{line:<{width}}  # {comment}" if comment else line for line, comment in lines]
    block = ["plugins:", f"  {loaded.name}:", *body] if body else ["plugins:", f"  {loaded.name}: {{}}"]
    return "\n".join([*block, *_picks(loaded)]) + "\n"


def _picks(loaded: LoadedPlugin) -> list[str]:
    """Return the lines that pick the first component of each kind, where a section of core picks that kind.

    One that has settings of its own stands with them; of readers, which a source picks, those alone are there.
    """
    names: dict[str, list[str]] = {}
    parts: dict[tuple[str, str], Any] = {}
    for part in loaded.components:
        kind, name = str(getattr(part, "kind", "")), str(getattr(part, "name", ""))
        names.setdefault(kind, []).append(name)
        parts[kind, name] = part
    sections: dict[str, list[str]] = {}
    for kind, (first, *others) in names.items():
        also = f"  # or {', '.join(others)}" if others else ""
        if kind in BASES:
            sections.setdefault(kind, []).insert(0, f"  type: {_value(first)}{also}")
        for section, base in BASES.items():
            for each in declared(base):
                if each.component == kind:
                    lines = sections.setdefault(section, [])
                    own = {name: _own(parts[kind, name]) for name in (first, *others)}
                    if not each.by_name:
                        picked: Any = {"type": first, **own[first]} if own[first] else first
                        lines.append(f"  {each.name}: {_value([picked] if each.many else picked)}{also}")
                    elif found := {name: settings for name, settings in own.items() if settings}:
                        lines.append(f"  {each.name}: {_value(found)}")
    return [line for section, lines in sections.items() if lines for line in (f"{section}:", *lines)]


def _own(part: Any) -> dict[str, Any]:
    """Return the settings of a component that have defaults, with these."""
    settings = {each.name: each.default for each in declared(getattr(part, "config", None))}
    return {name: default for name, default in settings.items() if default is not attrs.NOTHING}


def _value(value: Any) -> str:
    """Return a plain value as YAML on one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_value(key)}: {_value(item)}' for key, item in value.items())}}}"

    if value == "" or (isinstance(value, str) and re.search(r"[\[\]{},#\n]", value)):
        return json.dumps(value, ensure_ascii=False)
    text = to_yaml({"x": value}).removeprefix("x: ").rstrip("\n")
    return "null" if value is None else text


def render_description(description: Mapping[str, Any]) -> str:
    """Return a description as text for people."""
    owner = f"{description['distribution']} {description['version']}".rstrip()
    lines = [f"{description['name']} ({owner}, {description['source']})"]
    if description["purpose"]:
        lines.append(description["purpose"])
    lives = "the whole run" if description["scope"] == "run" else "one fit"
    file = os.path.relpath(description["file"]) if description["file"] else "unknown"
    lines += [
        "",
        f"class  {description['class']}",
        f"file   {file if not file.startswith('..') else description['file']}",
    ]
    lines.append(f"lives  {lives}")
    if description["asks"]:
        lines.append(f"asks   {', '.join(description['asks'])}")
    if description["on_error"] == "disable":
        lines.append("fails  without ending the run: an error switches it off (on_error: disable)")
    if not description["affects_result"]:
        lines.append("takes  no part in the result, so a resume may change it, add it or leave it out")
    if description["requires_hooks"] is not None:
        lines.append(f"needs  hooks version {description['requires_hooks']}")
    lines += ["", "Settings", *(_setting_lines(description["settings"]) or ["  none"])]
    hooks = [f"  {hook['name']}({', '.join(hook['arguments'])})" for hook in description["hooks"]]
    lines += ["", "Hooks, which `stepbus hooks NAME` explains" if hooks else "Hooks", *(hooks or ["  none"])]
    if description["components"]:
        lines += ["", "Components, picked with type: (a reader by what is read)"]
        for part in description["components"]:
            lines.append(f"  {part['kind']} {part['name']}" + (f": {part['purpose']}" if part["purpose"] else ""))
            lines += [f"  {line}" for line in _setting_lines(part["settings"])]
    lines += ["", "To paste", "", description["yaml"].rstrip("\n")]
    return "\n".join(lines)


def _setting_lines(settings: list[dict[str, Any]]) -> list[str]:
    from stepbus.author.listing import aligned

    rows = []
    for each in settings:
        default = "must be given" if each["required"] else _value(each["default"])
        meaning = each["meaning"] + (f" ({each['expected']})" if each["expected"] else "")
        rows.append((f"  {each['name']}", each["type"], default, meaning))
    return aligned(rows) if rows else []
