"""Commands that installed packages add, by entry points of a group of their own; typing a name is consent to import."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from stepbus.base import PluginError, error_words
from stepbus.config.discovery.entry_points import Entry, entries

GROUP = "stepbus.commands"
BUILTIN = ("train", "plan", "profile", "evaluate", "predict", "plugins", "hooks", "contracts", "config", "info")
Command = Callable[[Sequence[str]], int | None]


def find(name: str) -> Command | None:
    """Return the command of a name, imported, or None where no package offers one.

    Raises:
        PluginError: Two packages offer it, or it cannot be imported.
    """
    offers = [entry for entry in entries(GROUP) if entry.name == name]
    if not offers:
        return None
    if len(offers) > 1:
        raise PluginError(_offered_twice(name, offers))
    (entry,) = offers
    module, _, attribute = entry.value.partition(":")
    try:
        command: Command = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # a module that exits must not do so in silence
        raise PluginError(
            f"the command {name} of {_owner(entry)} cannot be imported from {entry.value}: "
            f"{error_words(error)}; upgrade the package, or uninstall it"
        ) from error
    return command


def names() -> list[str]:
    """Return the names of the packages' commands; nothing is imported."""
    return [entry.name for entry in entries(GROUP)]


def listing() -> str:
    """Return what the help says of the packages' commands, or nothing where there are none; nothing is imported."""
    names = sorted(f"{entry.name} ({_owner(entry)})" for entry in entries(GROUP) if entry.name not in BUILTIN)
    return f"commands of installed packages: {', '.join(names)}; " if names else ""


def name_problems() -> list[str]:
    """Return a sentence for each name that two packages offer, or that a built-in command has."""
    offers: dict[str, list[Entry]] = {}
    for entry in entries(GROUP):
        offers.setdefault(entry.name, []).append(entry)
    twice = [_offered_twice(name, found) for name, found in offers.items() if len(found) > 1]
    hidden = [
        f"the command {name} of {_owner(entry)} is hidden by the built-in one; it needs another name"
        for name, found in offers.items()
        for entry in found
        if name in BUILTIN
    ]
    return twice + hidden


def _offered_twice(name: str, offers: Sequence[Entry]) -> str:
    owners = " and ".join(sorted(_owner(entry) for entry in offers))
    return f"the command {name} is offered by {owners}; uninstall one of them"


def _owner(entry: Entry) -> str:
    return f"{entry.distribution} {entry.version}"
