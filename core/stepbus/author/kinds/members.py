"""What a class offers, read from its code: attributes with their words, methods with their first sentence."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

from attrs import field, frozen

from stepbus.author.kinds.docstrings import entries, line, sections

_BESIDE = re.compile(r"^    (?:def )?(\w+)(?:\(self\) ->|:) [^#\n]+  # (.*)$", re.MULTILINE)


@frozen
class Member:
    """An attribute or a method.

    Args:
        name: Its name.
        signature: As it is written: "seconds", "directory_of(fit)".
        meaning: What it is, or does.
        arguments: Argument -> what it holds, of a method.
    """

    name: str
    signature: str
    meaning: str
    arguments: dict[str, str] = field(factory=dict)


def members(cls: Any) -> list[Member]:
    """Return what a class offers, its own first; private names and those of classes that are not stepbus's aside."""
    found: dict[str, Member] = {}
    for each in cls.__mro__:
        if each.__module__.startswith(("stepbus.", "stepbus_plugins.")):
            for member in _own(each):
                known = found.get(member.name)
                if known is None or not known.meaning:
                    found[member.name] = member
    return list(found.values())


def _own(cls: Any) -> Iterator[Member]:
    parts = sections(inspect.getdoc(cls) or "") if "__doc__" in vars(cls) and cls.__doc__ else {}
    said = entries(parts.get("Args", "")) | entries(parts.get("Attributes", ""))
    said |= dict(_BESIDE.findall(inspect.getsource(cls)))
    names = [name for name in (*inspect.get_annotations(cls), *said, *vars(cls)) if not name.startswith("_")]
    names += ["__call__"] if "__call__" in vars(cls) else []
    # An argument of the constructor that is not kept is none of its attributes.
    kept = {*inspect.get_annotations(cls), *vars(cls), *_assigned(cls), *entries(parts.get("Attributes", ""))}
    for name in dict.fromkeys(name for name in names if name in kept):
        value = vars(cls).get(name)
        function = value.fget if isinstance(value, property) else value
        function = function.__func__ if isinstance(function, classmethod | staticmethod) else function
        doc = sections(inspect.getdoc(function) or "") if inspect.isfunction(function) else {"": ""}
        signature = name if isinstance(value, property) or not inspect.isfunction(function) else _called(name, function)
        # What says nothing is no part of the contract: a plain value of the class, such as a constant.
        yield Member(name, signature, line(said.get(name) or doc[""]), entries(doc.get("Args", "")))


def _assigned(cls: Any) -> set[str]:
    """Return the attributes that the constructor sets."""
    if "__init__" not in vars(cls):
        return set()
    try:
        source = textwrap.dedent(inspect.getsource(cls.__init__))
    except (OSError, TypeError):  # attrs made it
        return set(inspect.signature(cls.__init__).parameters)
    return {name for line in re.findall(r"^ +(self\..*?) ?[:=]", source, re.MULTILINE) for name in _SELF.findall(line)}


_SELF = re.compile(r"self\.(\w+)")


def _called(name: str, function: Any) -> str:
    shown = []
    for each in list(inspect.signature(function).parameters.values())[1:]:
        star = "*" if each.kind == each.VAR_POSITIONAL else "**" if each.kind == each.VAR_KEYWORD else ""
        shown.append(f"{star}{each.name}" + ("" if each.default is each.empty else f"={each.default!r}"))
    return f"{name}({', '.join(shown)})"
