"""A function of the user's that tells a row: file.py:NAME or module:NAME in place of a template."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

from stepbus import DataError, Rows, import_module


class RowFunction:
    """A function from one row, as a dictionary, to its text or pair of texts.

    Args:
        name: Where it is: a file or a module, a colon, and its name.

    Raises:
        DataError: It is no function.
        PluginError: Its module cannot be imported.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        place, _, attribute = name.rpartition(":")
        function = getattr(import_module(place), attribute, None)
        if not inspect.isfunction(function):
            raise DataError(
                f"data.template: expected a function of one row, written in Python, got {name!r}, which names "
                f"{'nothing' if function is None else 'a ' + type(function).__name__}"
            )
        self._function: Callable[[dict[str, Any]], Any] = function

    def texts(self, rows: Rows, columns: dict[str, list[Any]]) -> tuple[list[str], list[str] | None]:
        """Return one text a row, and the second text of each row or None.

        Args:
            rows: The rows, for messages.
            columns: Name -> the values of the rows: numbers, booleans or text; None for gaps.

        Raises:
            DataError: The function failed, or returned something else; the row is named.
        """
        results: list[Any] = []
        for index in range(len(rows)):
            row = {name: columns[name][index] for name in columns}
            try:
                result = self._function(row)
            except (Exception, SystemExit) as error:
                raise DataError(
                    f"{rows.where(index)}: data.template: {self.name} raised {type(error).__name__}: {error}"
                ) from error
            pair = (
                isinstance(result, tuple | list) and len(result) == 2 and all(isinstance(text, str) for text in result)
            )
            if not (isinstance(result, str) or pair) or (
                results and isinstance(results[0], str) != isinstance(result, str)
            ):
                raise DataError(
                    f"{rows.where(index)}: data.template: expected {self.name} to return a text for every "
                    f"row, or a pair of texts for every row, got {result!r}"
                )
            results.append(result)
        if isinstance(results[0], str):
            return results, None
        return [first for first, _ in results], [second for _, second in results]

    @property
    def digest(self) -> str | None:
        """SHA-256 of the source; None where there is none to read: a compiled or built-in function."""
        try:
            return hashlib.sha256(inspect.getsource(self._function).encode()).hexdigest()
        except (OSError, TypeError):
            return None
