"""The entry points of installed packages, read and not imported; every command's help reads them, so nothing heavy."""

from __future__ import annotations

from functools import cache
from importlib.metadata import Distribution, distributions
from typing import NamedTuple

# Whose names go first: a package that offers one of them shall break no run on the machine.
OURS = "stepbus"


class Entry(NamedTuple):
    """One line of an entry-point table, with the package that wrote it."""

    name: str
    value: str
    distribution: str
    version: str


@cache
def entries(group: str) -> tuple[Entry, ...]:
    """Return every entry point of a group, by the names of the packages, importing none."""
    found: dict[tuple[str, str, str], Entry] = {}
    for distribution in distributions():
        for name, value in _declared(distribution, group):
            owner = str(distribution.metadata["Name"])
            # An editable install can show the same distribution twice: its folder and its metadata.
            found.setdefault((name, value, owner), Entry(name, value, owner, distribution.version))
    # A file system lists packages in an order of its own, which is none to call plugins in or to tell of them.
    return tuple(sorted(found.values(), key=lambda each: each.distribution))


def _declared(distribution: Distribution, group: str) -> list[tuple[str, str]]:
    # Reading the text first skips the metadata of a hundred packages that have nothing to say.
    text = distribution.read_text("entry_points.txt")
    if not text or f"[{group}]" not in text:
        return []
    return [(point.name, point.value) for point in distribution.entry_points if point.group == group]
