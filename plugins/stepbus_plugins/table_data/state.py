"""What a folder says that a table's texts need, believed only where it fits the settings."""

from __future__ import annotations

import math
import sys
from typing import Any, Literal, get_args

from stepbus import DataError
from stepbus_plugins.table_data.settings import REFERENCE, TableDataConfig, template_columns

Kind = Literal["number", "boolean", "words"]
Edges = dict[str, list[float] | None]


def checked_state(saved: dict[str, Any], config: TableDataConfig) -> tuple[list[str], dict[str, Kind], Edges]:
    """Return columns, their kinds, and the edges of the numbers among them.

    Args:
        saved: What `TableText.state_dict` returned, as it was read.
        config: The data section.

    Raises:
        DataError: A part is missing, of another type, or does not fit the others.
    """
    columns = saved.get("columns")
    if not isinstance(columns, list) or not columns or not all(isinstance(name, str) for name in columns):
        raise DataError("source.columns: expected a list of the columns that are told, as texts, got something else")
    if config.columns is not None and columns != list(config.columns):
        raise DataError("source.columns: expected those of config.data.columns, in their order, got others")
    if config.template is not None and not REFERENCE.fullmatch(config.template):
        for name in template_columns(config.template):
            if name not in columns:
                raise DataError(
                    f"source.columns: expected the columns that config.data.template names, found no {name!r} "
                    "among them"
                )
    edges = saved.get("edges")
    if not isinstance(edges, dict):
        raise DataError("source.edges: expected a mapping from the columns of numbers to their edges")
    # What was saved before columns had a kind says only which of them are numbers.
    kinds = saved.get("kinds", {name: "number" if name in edges else "words" for name in columns})
    if not isinstance(kinds, dict) or set(kinds) != set(columns):
        raise DataError("source.kinds: expected the kind of each column in source.columns, got others")
    for name, kind in kinds.items():
        if not isinstance(kind, str) or kind not in get_args(Kind):
            raise DataError(f"source.kinds: expected {', '.join(get_args(Kind))} for {name!r}, got something else")
    numeric = {name for name, kind in kinds.items() if kind == "number"}
    if set(edges) != numeric:
        raise DataError("source.edges: expected the edges of each column whose kind is number, got those of others")
    for name, values in edges.items():
        if values is not None and not _ascending(values, config.bins - 1):
            raise DataError(
                f"source.edges: expected {config.bins - 1} ascending numbers for {name!r}, since data.bins is "
                f"{config.bins}, or null, got something else"
            )
    if saved.get("function") is not None and not isinstance(saved["function"], str):
        raise DataError("source.function: expected the digest of the template's function or null, got something else")
    return list(columns), dict(kinds), dict(edges)


def _ascending(values: Any, count: int) -> bool:
    """Say whether these are as many numbers as wanted, none smaller than the one before."""
    if not isinstance(values, list) or len(values) != count:
        return False
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return False
    return all(abs(value) <= sys.float_info.max and not math.isnan(value) for value in values) and values == sorted(
        values
    )
