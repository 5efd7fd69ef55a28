"""Plugins that a run needed to read its rows, and that a folder can do without: opened with it where they are there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stepbus.base import ModelError
from stepbus.config.discovery import installed

if TYPE_CHECKING:
    from stepbus.config import Config


def reading_plugins(config: Config) -> dict[str, list[str]]:
    """Return the label of each plugin that offers readers, with their names."""
    found: dict[str, list[str]] = {}
    for part, provider in config.components:
        if part.kind == "reader":
            found.setdefault(provider, []).append(part.name)
    return found


def set_apart(tree: dict[str, Any], named: dict[str, tuple[Any, list[str]]]) -> dict[str, Any]:
    """Return what a folder says of its configuration with readers of other packages by themselves.

    Args:
        tree: The sections and the plugins.
        named: Plugin -> its settings, and the names of its readers.
    """
    if not named:
        return tree
    data = dict(tree["data"])
    written = dict(data.pop("readers", None) or {})
    readers = {
        name: {"plugin": settings, "reads": {each: written.pop(each) for each in names if each in written}}
        for name, (settings, names) in named.items()
    }
    return {**tree, "data": {**data, **({"readers": written} if written else {})}, "readers": readers}


def put_back(tree: dict[str, Any], place: str, *, trust: bool) -> dict[str, Any]:
    """Return what a folder says with the readers that are installed here, or that are trusted, among the plugins.

    Args:
        tree: What `set_apart` returned, as it was read.
        place: The file that it is from, for messages.
        trust: Whether a file or a module may be imported for them.

    Raises:
        ModelError: It cannot be understood.
    """
    if "readers" not in tree:
        return tree
    tree = dict(tree)
    readers, known = tree.pop("readers"), installed()
    try:
        for name, reader in readers.items():
            plugin, reads = dict(reader["plugin"]), dict(reader["reads"])
            if trust if "use" in plugin else name in known:
                data = tree["data"]
                tree["plugins"] = {**tree["plugins"], name: plugin}
                tree["data"] = {**data, "readers": {**(data.get("readers") or {}), **reads}} if reads else data
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ModelError(f"{place}: expected readers by the name of their plugin under config, got others") from None
    return tree
