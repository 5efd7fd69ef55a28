"""What the text that names rows is made of: "sqlite:titanic.db#passengers" is a scheme, a file and a rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen

from stepbus.base.settings import show_python

# One letter is a drive of Windows.
SCHEME = re.compile(r"([A-Za-z][\w+.-]+):(.*)", re.DOTALL)
_WANTED = {
    "suffixes": (re.compile(r"(\.[^\s./A-Z]+)+"), 'endings in small letters, such as (".csv",)'),
    "schemes": (re.compile(r"[a-z][a-z0-9+.-]+"), 'names of two small letters or more, such as ("sqlite",)'),
}
_FLAGS = ("packed", "file")


@frozen
class RowSource:
    """The parts of a text that names rows by a scheme.

    Args:
        reader: The component that the scheme picks.
        scheme: As it was written, without the colon.
        path: The file behind it, as it was written; None where its reader names no files.
        rest: All that follows: "#passengers".
    """

    reader: Any
    scheme: str
    path: str | None
    rest: str

    def moved(self, path: str) -> str:
        """Return the whole text with another path in it."""
        return f"{self.scheme}:{path}{self.rest}"


def by_scheme(text: str, readers: Iterable[Any]) -> RowSource | None:
    """Return the parts of a text whose scheme one of the readers has, or None.

    Args:
        text: What names the rows.
        readers: The components that there are; those of other kinds do not count.
    """
    found = SCHEME.fullmatch(text)
    if found is None:
        return None
    for part in readers:
        if part.kind == "reader" and found[1].lower() in part.metadata.get("schemes", ()):
            if not part.metadata.get("file"):
                return RowSource(part, found[1], None, found[2])
            path, rest = re.fullmatch(r"([^#?]*)(.*)", found[2], re.DOTALL).groups()  # type: ignore[union-attr]
            return RowSource(part, found[1], path, rest)
    return None


def possible_files(text: str) -> list[str]:
    """Return the paths that a text which names rows may stand for, whatever readers there are."""
    found = SCHEME.fullmatch(text)
    return [text] if found is None else [text, re.split("[#?]", found[2], maxsplit=1)[0]]


def claimed(kind: str, facts: Mapping[str, Any]) -> list[str]:
    """Return what a component takes for itself alone, besides its name, in words: the ending '.csv'."""
    if kind != "reader" or not isinstance(facts, Mapping) or reader_problem(facts):
        return []
    endings = [f"files ending in {suffix}" for suffix in facts.get("suffixes", ())]
    return endings + [f"rows by {scheme}:" for scheme in facts.get("schemes", ())]


def reader_problem(facts: Mapping[str, Any]) -> str:
    """Return what is wrong with the facts of a reader, or nothing.

    Args:
        facts: The `metadata` of its component.
    """
    for name, (form, wanted) in _WANTED.items():
        value = facts.get(name, ())
        if not isinstance(value, tuple):
            return f"expected {name} in its metadata to be a tuple of {wanted}, got {show_python(value)}"
        for each in value:
            if not (isinstance(each, str) and form.fullmatch(each)):
                return f"expected {name} in its metadata to be {wanted}, got {show_python(each)}"
    for name in _FLAGS:
        if not isinstance(facts.get(name, False), bool):
            return f"expected {name} in its metadata to be True or False, got {show_python(facts[name])}"
    if not any(facts.get(name) for name in _WANTED):
        return 'expected metadata={"suffixes": (".csv", …)} or {"schemes": ("sqlite", …)} in its Component, got none'
    return ""
