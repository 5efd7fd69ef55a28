"""Files of one JSON object a line; values keep their types, and a name that a line lacks is a gap."""

from __future__ import annotations

import json
import re
from typing import Any

from stepbus import DataError, Source, Table, parse_json


class JsonLines:
    """Reads a .jsonl file.

    Args:
        config: Nothing.
    """

    def __init__(self, config: Any) -> None:
        self.config = config

    def read(self, source: Source) -> Table:
        """Return the objects, with the line of each.

        Raises:
            DataError: A line is no JSON object.
        """
        rows, lines = [], []
        for number, line in enumerate(re.split(r"\r\n|\n|\r", source.text()), start=1):
            if not line.strip():
                continue
            try:
                row = parse_json(line, _once, float)
                json.dumps(row, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no text
            except ValueError as error:
                got = f"something else: {error}" if str(error).startswith("expected") else str(error)
                raise DataError(f"{source}:{number}: expected a JSON object on one line, got {got}") from None
            if not isinstance(row, dict):
                raise DataError(f"{source}:{number}: expected a JSON object, got {type(row).__name__}")
            rows.append(row)
            lines.append(number)
        if not rows:
            raise DataError(f"{source}: expected a JSON object on each line, got an empty file")
        return Table(rows, lines)


def _once(items: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in items]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} twice")
    return dict(items)
