"""What a model folder asks for beyond installed components, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
from attrs import frozen

from stepbus.base import one_line, show

SECTIONS = ("model", "data", "loss")


def _words(text: str) -> str:
    return one_line(text, 500)


@frozen
class Wish:
    """Something that a folder asks for beyond installed components.

    Args:
        path: Where it stands: "plugins.mine.use".
        words: What it would do: "imports ./mine.py and makes its Mine".
    """

    path: str = attrs.field(converter=one_line)
    words: str = attrs.field(converter=_words)

    def __str__(self) -> str:
        return f"{self.path}: {self.words}"


def of_sections(tree: Mapping[str, Any]) -> Iterator[Wish]:
    """Yield what is asked for outside of the sections that prediction needs."""
    for key, value in tree.items():
        if key == "extends":
            yield Wish(key, f"reads the configuration {shown_place(value)}")
        elif key == "hooks":
            for module in value if isinstance(value, list) else [value]:
                yield Wish(key, f"imports {shown_place(module)} for its hooks")
        elif key in ("training", "environment"):
            for name, item in value.items() if isinstance(value, dict) else [("", value)]:
                if (key, name) != ("training", "metrics"):
                    writes, does = name == "output_dir", "is no setting that prediction needs"
                    does = f"writes to {shown_place(item)}" if writes else does
                    yield Wish(f"{key}.{name}", does)
        elif key not in (*SECTIONS, "plugins"):
            yield Wish(key, "is no section that prediction needs")


def shown_place(value: Any) -> str:
    """Return a place in full, so that one sees what was asked for; anything else as messages name it."""
    return repr(value) if isinstance(value, str) and len(value) <= 300 else show(value)
