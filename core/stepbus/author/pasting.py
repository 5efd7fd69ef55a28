"""YAML to paste: a plugin switched on, and its components picked."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs

from stepbus.author.declaring import declared
from stepbus.base.trees import to_yaml
from stepbus.config import BASES
from stepbus.config.discovery import LoadedPlugin


def yaml_block(loaded: LoadedPlugin, use: str | None = None) -> str:
    """Return YAML that switches the plugin on with its default settings, and picks its first component of each kind.

    Args:
        loaded: The plugin.
        use: The class as the user named it, where no entry point does.
    """
    lines = [(f"    use: {as_yaml(use)}", "")] if use else []
    for each in declared(loaded.config_class):
        if each.default is attrs.NOTHING:
            lines.append((f"    {each.name}:", f"must be given: {each.meaning or each.type}"))
        else:
            lines.append((f"    {each.name}: {as_yaml(each.default)}", each.meaning))
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
            sections.setdefault(kind, []).insert(0, f"  type: {as_yaml(first)}{also}")
        for section, base in BASES.items():
            for each in declared(base):
                if each.component == kind:
                    lines = sections.setdefault(section, [])
                    own = {name: _own(parts[kind, name]) for name in (first, *others)}
                    if not each.by_name:
                        picked: Any = {"type": first, **own[first]} if own[first] else first
                        lines.append(f"  {each.name}: {as_yaml([picked] if each.many else picked)}{also}")
                    elif found := {name: settings for name, settings in own.items() if settings}:
                        lines.append(f"  {each.name}: {as_yaml(found)}")
    return [line for section, lines in sections.items() if lines for line in (f"{section}:", *lines)]


def _own(part: Any) -> dict[str, Any]:
    """Return the settings of a component that have defaults, with these."""
    settings = {each.name: each.default for each in declared(getattr(part, "config", None))}
    return {name: default for name, default in settings.items() if default is not attrs.NOTHING}


def as_yaml(value: Any) -> str:
    """Return a plain value as YAML on one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(as_yaml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{as_yaml(key)}: {as_yaml(item)}' for key, item in value.items())}}}"
    if value == "" or (isinstance(value, str) and re.search(r"[\[\]{},#\n]", value)):
        return json.dumps(value, ensure_ascii=False)
    text = to_yaml({"x": value}).removeprefix("x: ").rstrip("\n")
    return "null" if value is None else text
