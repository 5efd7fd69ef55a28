"""What is said twice, and differently, in one call or on one command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from stepbus.base import Problem, show
from stepbus.base.trees import Keys, Node, show_path


def contradictions(one: Node, other: Node, path: Keys = ()) -> Iterator[Problem]:
    """Yield a problem for each setting to which two keywords of one call give different values.

    Args:
        one: What a keyword says, or several.
        other: What another one says.
        path: Where they stand.
    """
    if isinstance(one.value, dict) and isinstance(other.value, dict):
        for key in one.value:
            if key in other.value and not one.value[key].mark.yields:
                yield from contradictions(one.value[key], other.value[key], (*path, key))
    elif not isinstance(one.value, dict) and not isinstance(other.value, dict) and one.plain() != other.plain():
        given = f"{show(one.plain())} and {show(other.plain())}"
        yield Problem(show_path(path), f"expected one value of it in a call, got {given}; leave one out")


def off_and_set(
    said: Sequence[tuple[str, Node]], aliases: Mapping[Keys, Keys | None], sections: Sequence[str]
) -> Iterator[Problem]:
    """Yield a problem for each plugin that one keyword, or one --set, switches off, and that another one sets.

    Args:
        said: Each keyword or --set as it was written, and where it puts its value.
        aliases: Where a setting may be written -> where it belongs.
        sections: The top-level keys; any other one is a plugin's name.
    """
    off: dict[str, tuple[int, str]] = {}
    sets: list[tuple[int, str, str, Node]] = []
    for place, (written, tree) in enumerate(said):
        for path, node in tree.walk():
            belongs = aliases.get(path, path) or ()
            if belongs and belongs[0] not in sections:
                belongs = ("plugins", *belongs)
            if belongs[:1] != ("plugins",) or len(belongs) < 2:
                continue
            name = str(belongs[1])
            if len(belongs) == 2 and node.value is False:
                off[name] = (place, written)
            elif len(belongs) == 3 and belongs[2] != "on_error":
                sets.append((place, name, written, node))
    for place, name, written, node in sets:
        if name in off and off[name][0] != place:
            words = f"expected no setting of {name} beside {off[name][1]}: false, got {show(node.plain())}"
            yield Problem(written, f"{words}; leave one of the two out", node.mark.file)
