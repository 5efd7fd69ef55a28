"""Which setting may be meant by a name that is none where it was written: one of another section, or another's name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import attrs

from stepbus.base import Components, did_you_mean, listed
from stepbus.base.trees import Keys, read_tree
from stepbus.config.discovery import configs_folder
from stepbus.config.sections import BASES

MOST = 3


@cache
def aliases() -> dict[Keys, Keys | None]:
    """Return configs/aliases.yaml: where a setting may be written, and where it belongs (None: nowhere)."""
    table = read_tree(configs_folder() / "aliases.yaml").plain()
    return {tuple(alias.split(".")): tuple(path.split(".")) if path else None for alias, path in table.items()}


@cache
def other_names() -> dict[str, list[Keys]]:
    """Return configs/suggestions.yaml and the last words of the aliases: a name → the paths that may be meant."""
    table = read_tree(configs_folder() / "suggestions.yaml").plain()
    return {str(alias[-1]): [alias] for alias in aliases()} | {
        name: [tuple(path.split(".")) for path in paths] for name, paths in table.items()
    }


def setting_names(cls: type) -> list[str]:
    """Return the names of a class's settings, as a file writes them; none for what is no class of settings."""
    return [] if not attrs.has(cls) else [field.alias or field.name for field in attrs.fields(cls) if field.init]


class Suggestions:
    """What may be meant, over all that there is to set.

    Args:
        classes: Path of a section or a plugin → the class of its settings.
        components: What the plugins offer.
    """

    def __init__(self, classes: Mapping[Keys, type], components: Components | None = None) -> None:
        self.paths: dict[str, list[Keys]] = {}
        self.components = components
        for outer, cls in classes.items():
            for name in setting_names(cls):
                self.paths.setdefault(name, []).append((*outer, name))

    def known(self, name: str) -> list[Keys]:
        """Return the paths that a name stands for by itself: a setting's own name, or one that others give it.

        A section's setting stands before those of plugins.
        """
        own, others = self.paths.get(name, []), other_names().get(name.lower(), [])
        return ([path for path in own if path[0] in BASES] or list(dict.fromkeys([*others, *own])))[:MOST]

    def near(self, name: str) -> list[Keys]:
        """Return the paths of the setting whose name is nearest, if it is near enough among so many."""
        found = difflib.get_close_matches(name, list(self.paths), n=1, cutoff=0.75)
        return self.known(found[0]) if found else []

    def at(self, name: str, outer: Keys, own: Iterable[str], value: Any = None) -> str:
        """Return " (did you mean …?)" for a name that is no setting where it stands, or "".

        Args:
            name: What was written.
            outer: The section or plugin that it stands in; () for the top of a file.
            own: The names that may stand there.
            value: What it was set to.
        """
        own = list(own)
        if others := self._others(name, outer) or self._of_components(name, outer):
            return others
        paths = self.known(name)
        if not paths and (near := did_you_mean(name, own)):
            return near
        paths = paths or self.near(name)
        inside = [path for path in paths if path[:-1] == outer and path[-1] in own]
        paths = inside or [path for path in paths if path[:-1] != outer]
        if type(value) is int and value >= 1:  # a warm-up of 100 is no fraction
            paths = sorted(paths, key=lambda path: str(path[-1]).endswith("_ratio"))
        if paths:
            return _question(".".join(map(str, path)) for path in paths)
        return did_you_mean(name, own)

    def keyword(self, name: str, more: Iterable[str]) -> str:
        """Return " (did you mean …?)" for a keyword in Python, or "".

        Args:
            name: The keyword.
            more: Names of sections and plugins.
        """
        paths = self.known(name)
        near = "" if paths else did_you_mean(name, [*self.paths, *more])
        return near or _question(as_keyword(path) for path in paths or self.near(name))

    def _others(self, name: str, outer: Keys) -> str:
        """Return "; it is a setting of …" where other components of the section have it."""
        if self.components is None or len(outer) != 1:
            return ""
        parts = [part for part, _ in self.components if part.kind == outer[0]]
        having = [part.name for part in parts if name in setting_names(part.config)]
        return f"; it is a setting of type: {listed(having, 'or')}" if having else ""

    def _of_components(self, name: str, outer: Keys) -> str:
        """Return " (did you mean …?)" where components of the plugin that it stands in have it, or are called so."""
        if self.components is None or len(outer) != 2 or outer[0] != "plugins":
            return ""
        parts = [part for part, who in self.components if who.startswith(f"{outer[1]}, ")]
        ways = [picked(part.kind, part.name, name) for part in parts if name in setting_names(part.config)]
        ways = ways or [picked(part.kind, part.name) for part in parts if part.name == name]
        return _question(way for way in ways[:MOST] if way)


def picked(kind: str, name: str, setting: str = "", value: str = "…") -> str:
    """Return what a configuration writes to pick a component, or to give it a setting: "data.readers.ini.section".

    Args:
        kind: Its kind.
        name: Its name.
        setting: A setting of it; "" for none.
        value: What to set that to.

    Returns:
        The words; "" for a kind that no section picks.
    """
    for section, base in BASES.items():
        for field in attrs.fields(base):
            if field.metadata.get("component") == kind:
                place = f"{section}.{field.alias or field.name}"
                if field.metadata.get("by_name"):
                    return f"{place}.{name}" + (f".{setting}" if setting else "")
                item = f"{{type: {name}, {setting}: {value}}}" if setting else name
                return f"{place}: [{item}]" if field.metadata.get("many") else f"{place}: {item}"
    if kind not in BASES:
        return ""
    return f"{kind}: {{type: {name}, {setting}: {value}}}" if setting else f"{kind}.type: {name}"


def as_keyword(path: Keys) -> str:
    """Return a setting as `create_trainer` takes it: batch_size, scheduler, gradient_clipping__max_norm."""
    if path[0] == "plugins":
        return "__".join(map(str, path[1:]))
    return str(path[0] if path[-1] == "type" else path[-1])


def _question(names: Iterable[str]) -> str:
    quoted = [repr(name) for name in dict.fromkeys(names)]
    return f" (did you mean {listed(quoted, 'or')}?)" if quoted else ""
