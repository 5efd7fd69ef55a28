"""A loaded plugin as plain data: its settings, hooks and components, and a YAML block to paste."""

from __future__ import annotations

import inspect
import os
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from stepbus.author.declaring import declared
from stepbus.author.pasting import as_yaml, yaml_block
from stepbus.base import Selected, asks_of, claimed, listed, policy_of
from stepbus.base.guards import TASKS
from stepbus.config.discovery import LoadedPlugin

# A Config class may hold another, and that one itself again.
MAX_NESTING = 4


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
    tasks = {"tasks": _tasks(part, "task") or _tasks(part, "tasks"), "unasked": _tasks(part, "default")}
    return {"kind": part.kind, "name": part.name, "purpose": purpose, **tasks, "claims": claims, "settings": settings}


def _tasks(part: Any, key: str) -> list[str]:
    """Return the tasks that a component names in its metadata; [] is any, or what the doctor complains of."""
    found = part.metadata.get(key) if isinstance(part.metadata, Mapping) else None
    found = (found,) if isinstance(found, str) else found
    return [each for each in found if each in TASKS] if isinstance(found, tuple | list) else []


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
            named = f"  {part['kind']} {part['name']}{_for_tasks(part)}"
            lines.append(f"{named}: {part['purpose']}" if part["purpose"] else named)
            lines += [f"  {line}" for line in _setting_lines(part["settings"])]
    lines += ["", "To paste", "", description["yaml"].rstrip("\n")]
    return "\n".join(lines)


def _for_tasks(part: Mapping[str, Any]) -> str:
    tasks, unasked = part["tasks"], part["unasked"]
    if not tasks:
        return ""
    told = "any task" if len(tasks) == len(TASKS) else listed(tasks)
    when = " (unasked)" if unasked == tasks else f" (unasked for {listed(unasked)})" if unasked else ""
    return f", for {told}{when}"


def _setting_lines(settings: list[dict[str, Any]]) -> list[str]:
    from stepbus.author.listing import aligned

    rows = []
    for each in settings:
        default = "must be given" if each["required"] else as_yaml(each["default"])
        meaning = each["meaning"] + (f" ({each['expected']})" if each["expected"] else "")
        rows.append((f"  {each['name']}", each["type"], default, meaning))
    return aligned(rows) if rows else []
