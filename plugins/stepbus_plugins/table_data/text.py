"""A row of a table as text: `column: value; …`, a format string, or a function of one's own."""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable
from string import Formatter
from typing import Any

import numpy as np

from stepbus import DataError, Rows, import_module
from stepbus_plugins.table_data.numbers import plain, quantile_edges, ranks, scale
from stepbus_plugins.table_data.settings import REFERENCE, TableDataConfig, template_columns

log = logging.getLogger(__name__)


class TableText:
    """Turns a row into text.

    Args:
        config: The data section.

    Raises:
        PluginError: The template's function cannot be imported.
    """

    def __init__(self, config: TableDataConfig) -> None:
        self.config = config
        self.columns: list[str] = []
        self.edges: dict[str, list[float] | None] = {}
        self.function: Callable[[dict[str, Any]], Any] | None = None
        template = config.template
        if template is not None and REFERENCE.fullmatch(template):
            place, _, name = template.rpartition(":")
            self.function = getattr(import_module(place), name, None)
            if not callable(self.function):
                raise DataError(f"data.template: expected a function, got {template!r}, which has no function {name!r}")

    def fit(self, rows: Rows) -> None:
        """Learn the columns, and the quantiles of the numbers among them, from training rows.

        Raises:
            DataError: A column is not there, is a label, or holds an infinite number.
        """
        labels = {self.config.label} if isinstance(self.config.label, str) else set(self.config.label or [])
        apart = labels | {self.config.id, self.config.group}
        template = self.config.template
        if self.config.columns is not None:
            self.columns = list(self.config.columns)
        elif template is not None and self.function is None:
            self.columns = list(dict.fromkeys(template_columns(template)))
        else:
            self.columns = [name for name in rows.frame.columns if name not in apart]
        for name in self.columns:
            if name in labels:
                raise DataError(
                    f"{self._setting}: expected columns that are no label, got {name!r}, which data.label names"
                )
            rows.column(name, self._setting)
        if not self.columns:
            raise DataError(f"{rows.source}: expected columns beside label, id and group, got none")
        numeric = [name for name in self.columns if self._numeric(rows, name)]
        self.edges = {name: quantile_edges(self._numbers(rows, name), self.config.bins) for name in numeric}

    @property
    def _setting(self) -> str:
        return "data.columns" if self.config.template is None else "data.template"

    @staticmethod
    def _numeric(rows: Rows, name: str) -> bool:
        from pandas.api.types import is_bool_dtype, is_numeric_dtype

        values = rows.frame[name]
        return is_numeric_dtype(values) and not is_bool_dtype(values)

    def _numbers(self, rows: Rows, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        values, absent = rows.frame[name], rows.missing(name)
        numbers = np.full(len(rows), np.nan)
        for index, value in enumerate(values):
            if absent[index]:
                continue
            try:
                numbers[index] = float(value)
            except (TypeError, ValueError):
                raise rows.error(index, name, f"expected a number, as in the training rows, got {value!r}") from None
            if not np.isfinite(numbers[index]):
                raise rows.error(index, name, f"expected a finite number, got {value}")
        return numbers

    def texts(self, rows: Rows) -> tuple[list[str], list[str] | None]:
        """Return each row as text.

        Raises:
            DataError: A column is not there, a number is none, or the template's function failed.
        """
        for name in self.columns:
            rows.column(name, self._setting)
        if self.function is not None:
            return self._by_function(rows)
        told = {name: self._told(rows, name) for name in self.columns}
        if self.config.template is None:
            parts = [[f"{name}: {text}" for text in told[name]] for name in self.columns]
            return ["; ".join(row) for row in zip(*parts, strict=True)], None
        pieces = [(text, name) for text, name, _, _ in Formatter().parse(self.config.template)]
        return [
            "".join(text + ("" if name is None else told[name][index]) for text, name in pieces)
            for index in range(len(rows))
        ], None

    def _told(self, rows: Rows, name: str) -> list[str]:
        """Return one column's values as they are said."""
        absent = rows.missing(name)
        if name not in self.edges:
            pairs = zip(rows.frame[name], absent, strict=True)
            return [self.config.missing if empty else str(value).strip() for value, empty in pairs]
        numbers, edges = self._numbers(rows, name), self.edges[name]
        if edges is None or self.config.numbers == "value":
            return [self.config.missing if np.isnan(number) else plain(number) for number in numbers]
        words = scale(self.config.bins)
        both = self.config.numbers == "both"
        return [
            self.config.missing if np.isnan(number) else f"{plain(number)} ({words[rank]})" if both else words[rank]
            for number, rank in zip(numbers, ranks(numbers, edges), strict=True)
        ]

    def _by_function(self, rows: Rows) -> tuple[list[str], list[str] | None]:
        assert self.function is not None
        absent = {name: rows.missing(name) for name in self.columns}
        columns = {name: rows.frame[name].tolist() for name in self.columns}
        results: list[Any] = []
        for index in range(len(rows)):
            row = {name: None if absent[name][index] else columns[name][index] for name in self.columns}
            try:
                result = self.function(row)
            except Exception as error:
                raise DataError(
                    f"{rows.where(index)}: data.template: {self.config.template} raised {type(error).__name__}: {error}"
                ) from error
            pair = (
                isinstance(result, tuple | list) and len(result) == 2 and all(isinstance(text, str) for text in result)
            )
            if not (isinstance(result, str) or pair) or (
                results and isinstance(results[0], str) != isinstance(result, str)
            ):
                raise DataError(
                    f"{rows.where(index)}: data.template: expected {self.config.template} to return a text for every "
                    f"row, or a pair of texts for every row, got {result!r}"
                )
            results.append(result)
        if isinstance(results[0], str):
            return results, None
        return [first for first, _ in results], [second for _, second in results]

    def state_dict(self) -> dict[str, Any]:
        """Return columns, quantiles and the function's digest, as JSON values."""
        return {"columns": list(self.columns), "edges": dict(self.edges), "function": self._digest()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; a template function that has changed since is said to have."""
        self.columns, self.edges = list(saved["columns"]), dict(saved["edges"])
        if saved["function"] != self._digest():
            log.warning("%s has changed since the model was trained; its texts may be others", self.config.template)

    def _digest(self) -> str | None:
        if self.function is None:
            return None
        try:
            return hashlib.sha256(inspect.getsource(self.function).encode()).hexdigest()
        except (OSError, TypeError):  # no source: a compiled or built-in function
            return None
