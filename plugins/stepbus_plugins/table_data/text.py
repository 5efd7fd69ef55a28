"""A row of a table as text: `column: value; …`, or a format string; `functions.py` has the user's own functions."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from string import Formatter
from typing import Any

import numpy as np

from stepbus import DataError, Rows, did_you_mean
from stepbus_plugins.table_data.functions import RowFunction
from stepbus_plugins.table_data.numbers import plain, quantile_edges, ranks, scale
from stepbus_plugins.table_data.settings import REFERENCE, TableDataConfig, template_columns
from stepbus_plugins.table_data.state import Kind, checked_state

log = logging.getLogger(__name__)

# What a column is called that has no name in its file.
UNNAMED = re.compile(r"Unnamed: [0-9]+")


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
        self.kinds: dict[str, Kind] = {}
        self.edges: dict[str, list[float] | None] = {}
        self.function: RowFunction | None = None
        template = config.template
        if template is not None and REFERENCE.fullmatch(template):
            self.function = RowFunction(template)

    def fit(self, rows: Rows) -> None:
        """Learn the columns, what they hold, and the quantiles of the numbers among them, from training rows.

        What a column holds is told by all rows of the training source, so that each fold's model reads it the same.

        Raises:
            DataError: A column is not there, is a label, or holds an infinite number.
        """
        labels = self.config.label_columns
        apart = {*labels, self.config.id, self.config.group, self.config.weight}
        template = self.config.template
        if self.config.columns is not None:
            self.columns = list(self.config.columns)
        elif template is not None and self.function is None:
            self.columns = list(dict.fromkeys(template_columns(template)))
        else:
            self.columns = self._features(rows, apart)
        for name in self.columns:
            if name in labels:
                raise DataError(
                    f"{self._setting}: expected columns that are no label, got {name!r}, which "
                    f"data.{'soft_labels' if name in (self.config.soft_labels or {}).values() else 'label'} names"
                )
            rows.column(name, self._setting)
        if not self.columns:
            raise DataError(f"{rows.source}: expected columns beside label, weight, id and group, got none")
        asked = self.config.kinds or {}
        for name in asked:
            if name not in self.columns:
                raise DataError(
                    f"data.kinds: expected columns that are told, got {name!r}{did_you_mean(name, self.columns)}"
                )
        self.kinds = {name: asked.get(name) or rows.kind(name) for name in self.columns}
        numeric = [name for name, kind in self.kinds.items() if kind == "number"]
        for name in asked:
            self._check_kind(rows, name)
        self.edges = {name: quantile_edges(rows.as_numbers(name), self.config.bins) for name in numeric}

    def _check_kind(self, rows: Rows, name: str) -> None:
        """Refuse training rows that are not what data.kinds says."""
        read = {"number": rows.as_numbers, "boolean": rows.as_booleans}.get(self.kinds[name])
        try:
            if read is not None:
                read(name)
        except DataError as error:
            said = str(error).replace(", as in the training rows", f", as data.kinds says of {name}")
            raise DataError(f"{said}; leave it out of data.kinds, or mend the cell") from None

    @property
    def _setting(self) -> str:
        return "data.columns" if self.config.template is None else "data.template"

    @staticmethod
    def _features(rows: Rows, apart: Collection[str | None]) -> list[str]:
        """Return all columns but those apart, and but those without a name, as a saved index has none."""
        named = [name for name in rows.frame.columns if name not in apart]
        unnamed = [name for name in named if UNNAMED.fullmatch(name)]
        if unnamed:
            rows.say(
                f"{', '.join(map(repr, unnamed))} has no name in the file, as a saved index of pandas has none, and is "
                "no feature; to use it, name it in data.columns"
            )
        return [name for name in named if name not in unnamed]

    def texts(self, rows: Rows) -> tuple[list[str], list[str] | None]:
        """Return each row as text.

        Raises:
            DataError: A column is not there, a number is none, or the template's function failed.
        """
        for name in self.columns:
            rows.column(name, self._setting)
        if self.function is not None:
            return self.function.texts(rows, {name: self._values(rows, name) for name in self.columns})
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
        kind = self.kinds[name]
        if kind == "words":
            return [self.config.missing if word is None else word for word in rows.as_words(name)]
        if kind == "boolean":
            return [self.config.missing if flag is None else str(flag) for flag in rows.as_booleans(name)]
        numbers, edges = rows.as_numbers(name), self.edges[name]
        if edges is None or self.config.numbers == "value":
            return [self.config.missing if np.isnan(number) else plain(number) for number in numbers]
        words = scale(self.config.bins)
        both = self.config.numbers == "both"
        return [
            self.config.missing if np.isnan(number) else f"{plain(number)} ({words[rank]})" if both else words[rank]
            for number, rank in zip(numbers, ranks(numbers, edges), strict=True)
        ]

    def _values(self, rows: Rows, name: str) -> list[Any]:
        """Return one column as a template's function sees it: numbers, booleans or text; None for gaps."""
        if self.kinds[name] == "words":
            return list(rows.as_words(name))
        if self.kinds[name] == "boolean":
            return list(rows.as_booleans(name))
        numbers = rows.as_numbers(name).tolist()
        return [None if np.isnan(number) else int(number) if number.is_integer() else number for number in numbers]

    def describe(self) -> dict[str, str]:
        """Return what was told by the training rows, in words, for the head of a run and its plan."""
        listed = {kind: [name for name in self.columns if self.kinds[name] == kind] for kind in ("number", "boolean")}
        listed["words"] = [name for name in self.columns if self.kinds[name] == "words"]
        said = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in listed.items() if names)
        return {"columns": f"{said} (data.kinds sets others)"}

    def state_dict(self) -> dict[str, Any]:
        """Return columns, what they hold, quantiles and the function's digest, as JSON values."""
        return {
            "columns": list(self.columns),
            "kinds": dict(self.kinds),
            "edges": dict(self.edges),
            "function": self.function.digest if self.function else None,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take over what `state_dict` returned; a template function that has changed since is said to have.

        Raises:
            DataError: It is nothing that `state_dict` returns for these settings; the key is named.
        """
        self.columns, self.kinds, self.edges = checked_state(saved, self.config)
        if saved.get("function") != (self.function.digest if self.function else None):
            log.warning("%s has changed since the model was trained; its texts may be others", self.config.template)
