"""Columns of a file of results: every one is written, under a name that no other has."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from attrs import frozen


@frozen(eq=False)
class Column:
    """One column of a file of results.

    Args:
        name: Its name.
        values: Its cells, [N].
        own: Whether the name is the user's, which stays; a name that we made up gives way to it.

    Example:
        >>> notes = write_columns("ids.csv", [Column("id", [7, 8]), Column("label", ["good", "bad"])])
        >>> Path("ids.csv").read_text().splitlines()
        ['id,label', '7,good', '8,bad']
    """

    name: str
    values: Any
    own: bool = False


def distinct(columns: Sequence[Column]) -> tuple[dict[str, Any], list[str]]:
    """Give each column a name of its own.

    Args:
        columns: In the order of the file.

    Returns:
        Name -> values, in the same order, and a sentence for each name that gave way: it has _2, _3, … behind.
    """
    wanted = {column.name for column in columns}
    names: dict[int, str] = {}
    said: list[str] = []
    for position in sorted(range(len(columns)), key=lambda position: not columns[position].own):
        name = columns[position].name
        if name in names.values():
            names[position] = _free(name, wanted | set(names.values()))
            said.append(f"two columns would be called {name!r}: column {position + 1} is {names[position]!r} instead")
        else:
            names[position] = name
    return {names[position]: column.values for position, column in enumerate(columns)}, said


def _free(name: str, taken: Collection[str]) -> str:
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"
