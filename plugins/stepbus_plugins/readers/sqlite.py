"""Rows of an SQLite database: a table, a view, or what a query gives.

    sqlite:titanic.db#passengers                                  the rows of a table in the order of their rowid
    sqlite:titanic.db?query=SELECT * FROM passengers WHERE age    what a query gives, in the order that it gives it
    titanic.db, sqlite:titanic.db                                 the only table that there is

A path starts at the file that names it, as every path does, and ends at the first `#` or `?`. NULL is a missing cell,
and all else keeps the type that it is stored with. Nothing is written, and a query may only read.
"""

from __future__ import annotations

import re
import sqlite3
from contextlib import suppress
from typing import Any

from stepbus import DataError, Source, did_you_mean, listed
from stepbus_plugins.readers.sqlite_files import opened

# What a query may do; anything else would write, or open another file.
_READS = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
_MOST_TABLES = 12


class SQLite:
    """Reads a table of an SQLite database, or what a query gives.

    Args:
        timeout: Seconds to wait for a lock.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout

    def read(self, source: Source) -> dict[str, list[Any]]:
        """Return the columns.

        Raises:
            DataError: There is no such database or table, the query cannot be run, or there are no rows.
        """
        table, query = _wanted(source)
        with opened(source, self.timeout) as database:
            try:
                if query is None:
                    query = _query_of(source, database, table)
                else:
                    _allow_only_reading(database)
                return _columns(source, database.execute(query))
            except (sqlite3.Error, sqlite3.Warning) as error:
                database.set_authorizer(None)
                raise DataError(_said(source, database, error)) from None


def _wanted(source: Source) -> tuple[str | None, str | None]:
    """Return the table and the query that a source names; one of them at most."""
    rest, tables = source.rest, "#TABLE, ?query=SELECT … or nothing behind the file"
    if rest.startswith("#") and len(rest) > 1:
        return rest[1:], None
    if found := re.fullmatch(r"\?query=(.*\S.*)", rest, re.DOTALL | re.IGNORECASE):
        return None, found[1]
    if rest:
        raise DataError(f"{source}: expected {tables}, got {rest!r}")
    return None, None


def _tables(database: sqlite3.Connection) -> list[tuple[str, str]]:
    return database.execute(
        r"SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\_%' ESCAPE '\'"
        " ORDER BY rowid"
    ).fetchall()


def _query_of(source: Source, database: sqlite3.Connection, wanted: str | None) -> str:
    """Return the query that gives a table's rows in an order that stays."""
    tables = _tables(database)
    names = [name for name, _ in tables]
    known = f"{', '.join(names[:_MOST_TABLES])}{', …' if len(names) > _MOST_TABLES else ''}"
    if not names:
        raise DataError(f"{source}: expected a database with tables, got one without any")
    if wanted is None:
        if len(names) > 1:
            raise DataError(
                f"{source}: expected the name of a table, because there are {len(names)}: {known}; "
                f"write sqlite:{source.file}#{names[0]}, or another one"
            )
        wanted = names[0]
    found = [(name, kind) for name, kind in tables if name.lower() == wanted.lower()]
    if not found:
        raise DataError(f"{source}: expected a table {wanted!r}{did_you_mean(wanted, names)}, got {known}")
    (name, kind) = found[0]
    quoted = _quoted(name)
    query = f"SELECT * FROM {quoted}"
    if kind == "view":
        return query
    columns = {column.lower() for (column, *_) in database.execute(f"{query} LIMIT 0").description}
    for rowid in (each for each in ("rowid", "_rowid_", "oid") if each not in columns):
        try:
            database.execute(f"SELECT {rowid} FROM {quoted} LIMIT 0")
        except sqlite3.OperationalError:
            break  # a table WITHOUT ROWID has a primary key
        return f"{query} ORDER BY {rowid}"
    keys = database.execute("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk", (name,)).fetchall()
    return f"{query} ORDER BY {', '.join(_quoted(key) for (key,) in keys)}" if keys else query


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _allow_only_reading(database: sqlite3.Connection) -> None:
    # A virtual table, such as a full-text index, is set up when it is first asked, and not by reading alone.
    virtual = database.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL %'").fetchall()
    for (name,) in virtual:
        with suppress(sqlite3.OperationalError):  # an extension that is not here
            database.execute(f"SELECT 1 FROM {_quoted(name)} LIMIT 0")
    database.set_authorizer(_only_reads)


def _only_reads(action: int, first: str | None, *_: Any) -> int:
    # A full-text index looks at the version of its data when it is read.
    fine = action in _READS or (action == sqlite3.SQLITE_PRAGMA and first == "data_version")
    return sqlite3.SQLITE_OK if fine else sqlite3.SQLITE_DENY


def _columns(source: Source, cursor: sqlite3.Cursor) -> dict[str, list[Any]]:
    if cursor.description is None:
        raise DataError(f"{source}: expected a query that gives rows (SELECT …), got one that gives none")
    names = [name for (name, *_) in cursor.description]
    try:
        source.check_names(names)
    except DataError as error:
        raise DataError(f"{error}; give one of them another name with AS") from None
    rows = cursor.fetchall()
    if not rows:
        raise DataError(f"{source}: expected rows, got none")
    return {name: list(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def _said(source: Source, database: sqlite3.Connection, error: Exception) -> str:
    """Return what went wrong in a query, in one sentence."""
    said = str(error)
    if isinstance(error, sqlite3.OperationalError) and "locked" in said:
        return (
            f"{source}: expected a database that can be read, got one that another program keeps locked; wait for it, "
            "or set data.readers.sqlite.timeout to more seconds"
        )
    if "not authorized" in said or "prohibited" in said or "one statement" in said:
        return f"{source}: expected one query that only reads (SELECT …), got one that does more ({said})"
    if found := re.match(r"no such table: (.*)", said):
        names = [name for name, _ in _tables(database)]
        said += f"{did_you_mean(found[1], names)}; there are {listed(names[:_MOST_TABLES]) or 'none'}"
    if found := re.match(r"Could not decode to UTF-8 column '(.*)' with text", said):
        return f"{source}: column {found[1]!r}: expected text in UTF-8, got other bytes; mend them"
    return f"{source}: expected rows that SQLite can read, got: {' '.join(said.split())}"
