"""Rows from files and tables: CSV, TSV, JSON lines, Parquet, scikit-learn's own tables, SQLite.

A reader is built from its settings, and `read(source)` returns rows: a frame, a list of dictionaries, an Arrow table,
or a `stepbus.Table` that knows the line of each row.
"""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import define

from stepbus import Component, setting
from stepbus_plugins.readers.json_lines import JsonLines
from stepbus_plugins.readers.parquet import Parquet
from stepbus_plugins.readers.scikit_learn import ScikitLearn
from stepbus_plugins.readers.text_tables import TextTables


@define(frozen=True, kw_only=True)
class NoSettings:
    """A reader that has nothing to set; `data.encoding` and `data.separator` hold for every text file."""


@define(frozen=True, kw_only=True)
class SQLiteConfig:
    """Settings of `data: {readers: {sqlite: …}}`."""

    timeout: float = setting(
        5.0,
        "seconds to wait for a database that another program has locked",
        check=lambda value: value >= 0,
        expected="a number of at least 0",
    )


def _sqlite(config: SQLiteConfig) -> Any:
    # Not every Python has SQLite.
    from stepbus_plugins.readers.sqlite import SQLite

    return SQLite(config.timeout)


class Readers:
    """Read rows from .csv, .tsv, .jsonl and .parquet files, SQLite databases and scikit-learn's tables."""

    components: ClassVar[list[Component]] = [
        Component("reader", "csv", NoSettings, TextTables, {"suffixes": (".csv", ".tsv"), "packed": True}),
        Component("reader", "jsonl", NoSettings, JsonLines, {"suffixes": (".jsonl", ".ndjson"), "packed": True}),
        Component("reader", "parquet", NoSettings, Parquet, {"suffixes": (".parquet",)}),
        Component(
            "reader",
            "sqlite",
            SQLiteConfig,
            _sqlite,
            {"schemes": ("sqlite",), "suffixes": (".sqlite", ".sqlite3", ".db"), "file": True},
        ),
        Component("reader", "sklearn", NoSettings, ScikitLearn, {"schemes": ("sklearn",)}),
    ]
