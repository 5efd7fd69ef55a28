"""Rows of SQLite databases: as other files give them, in an order that stays, read without a trace."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stepbus import DataError, Rows, load_config
from stepbus.text.rows.table import read_rows

Make = Callable[..., dict[str, Any]]


def read(source: str | Path, **data: Any) -> Rows:
    return read_rows(source, name="train", config=load_config({"data": data}).data.settings)


def database(path: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(path)) as made:
        made.executescript(";\n".join(statements))
        made.commit()
    return path


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


PEOPLE = (
    "CREATE TABLE people (id INTEGER, name TEXT, age REAL, photo BLOB)",
    "INSERT INTO people VALUES (7, 'Ann', 22.0, x'00ff'), (3, '007', NULL, NULL), (12, '', 0.1, NULL)",
)


def test_a_table_has_the_cells_that_other_files_have(tmp_path: Path) -> None:
    path = database(tmp_path / "some.db", *PEOPLE)
    rows = read(f"sqlite:{path}#people", id="id")
    assert rows.cells("name") == ["Ann", "007", None]
    assert rows.cells("age") == ["22", None, "0.1"]
    assert [rows.kind(name) for name in ("id", "name", "age")] == ["number", "words", "number"]
    assert rows.ids.tolist() == [7, 3, 12]
    assert rows.where(1) == f"sqlite:{path}#people, row 2"
    pd.DataFrame({"id": [7, 3, 12], "name": ["Ann", "007", None], "age": [22, None, 0.1]}).to_parquet(
        tmp_path / "p.parquet"
    )
    other = read(tmp_path / "p.parquet", id="id")
    for name in ("id", "name", "age"):
        assert rows.cells(name) == other.cells(name)
    assert rows.ids.tolist() == other.ids.tolist()
    with pytest.raises(DataError, match=r"#people, row 1: column 'photo': expected one value, got bytes: b'.x00.xff'"):
        rows.cells("photo")


@pytest.mark.parametrize("source", ["sqlite:{}", "{}", "sqlite:{}#people", "SQLite:{}#People"])
def test_the_only_table_needs_no_name(tmp_path: Path, source: str) -> None:
    path = database(tmp_path / "some.sqlite3", *PEOPLE)
    assert read(source.format(path)).cells("id") == ["7", "3", "12"]


def test_rows_stand_in_the_order_of_their_rowid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = database(
        tmp_path / "some.db",
        "CREATE TABLE plain (a TEXT, rowid TEXT)",  # a column of that name hides the real one
        "INSERT INTO plain (_rowid_, a, rowid) VALUES (9, 'last', '1'), (1, 'first', '2')",
        "CREATE INDEX covering ON plain (rowid, a)",
        "CREATE TABLE keyed (a TEXT, b INTEGER, PRIMARY KEY (b, a)) WITHOUT ROWID",
        "INSERT INTO keyed VALUES ('x', 2), ('y', 1), ('a', 2)",
        "CREATE VIEW seen AS SELECT a FROM plain ORDER BY a DESC",
        'CREATE TABLE "odd ""name" (a)',
        'INSERT INTO "odd ""name" VALUES (1)',
    )
    connect = sqlite3.connect

    def backwards(*args: Any, **options: Any) -> sqlite3.Connection:
        made = connect(*args, **options)
        made.execute("PRAGMA reverse_unordered_selects = ON")  # what has no order comes in another one
        return made

    monkeypatch.setattr(sqlite3, "connect", backwards)
    assert read(f"sqlite:{path}#plain").cells("a") == ["first", "last"]
    assert read(f"sqlite:{path}#keyed").cells("a") == ["y", "a", "x"]
    assert read(f"sqlite:{path}#seen").cells("a") == ["last", "first"]
    assert read(f'sqlite:{path}#odd "name').cells("a") == ["1"]


@pytest.mark.parametrize(
    ("query", "cells"),
    [
        ("SELECT name AS x FROM people WHERE age IS NOT NULL ORDER BY id DESC", [None, "Ann"]),
        ("WITH few AS (SELECT * FROM people LIMIT 1) SELECT upper(name) AS x FROM few;", ["ANN"]),
        ("\n  SELECT id + 1 AS x\n  FROM people -- all of them", ["8", "4", "13"]),
        ("SELECT '#?&' AS x", ["#?&"]),
        (
            "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < 3) SELECT x FROM n",
            ["1", "2", "3"],
        ),
    ],
)
def test_a_query_gives_rows(tmp_path: Path, query: str, cells: list[str | None]) -> None:
    rows = read(f"sqlite:{database(tmp_path / 'some.db', *PEOPLE)}?query={query}")
    assert rows.cells("x") == cells
    assert "\n" not in rows.source


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("#peple", r"#peple: expected a table 'peple' \(did you mean 'people'\?\), got people, pets$"),
        ("", r"expected the name of a table, because there are 2: people, pets; write sqlite:.*some.db#people, or an"),
        ("#", r"expected #TABLE, \?query=SELECT … or nothing behind the file, got '#'"),
        ("?mode=rw", r"expected #TABLE, \?query=SELECT … or nothing behind the file, got '\?mode=rw'"),
        ("?query= ", r"expected #TABLE, \?query=SELECT … or nothing behind the file, got '\?query= '"),
        ("#pets", r"#pets: expected rows, got none$"),
        ("?query=SELECT 1 WHERE 0", r"expected rows, got none$"),
        (
            "?query=DELETE FROM people",
            r"expected one query that only reads \(SELECT …\), got one that does more \(not auth",
        ),
        ("?query=PRAGMA table_info(people)", r"expected one query that only reads"),
        ("?query=ATTACH 'other.db' AS other", r"expected one query that only reads"),
        ("?query=SELECT 1; DROP TABLE people", r"expected one query that only reads .* \(You can only execute one"),
        ("?query=-- nothing", r"expected a query that gives rows \(SELECT …\), got one that gives none"),
        ("?query=SELEC 1", r"expected rows that SQLite can read, got: near \"SELEC\": syntax error"),
        ("?query=SELECT nme FROM people", r"expected rows that SQLite can read, got: no such column: nme"),
        (
            "?query=SELECT * FROM peple",
            r"got: no such table: peple \(did you mean 'people'\?\); there are people and pets",
        ),
        ("?query=SELECT * FROM people WHERE id = ?", r"got: Incorrect number of bindings supplied"),
        (
            "?query=SELECT id, id FROM people",
            r"each column's name once, got 'id' as column 1 and column 2; give one .* AS$",
        ),
        ("?query=SELECT CAST(x'ff' AS TEXT) AS bad", r"column 'bad': expected text in UTF-8, got other bytes"),
        ("?query=SELECT abs(-9223372036854775808)", r"expected rows that SQLite can read, got: integer overflow"),
    ],
)
def test_what_cannot_be_read_gets_one_sentence(tmp_path: Path, rest: str, message: str) -> None:
    path = database(tmp_path / "some.db", *PEOPLE, "CREATE TABLE pets (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(DataError, match=message) as caught:
        read(f"sqlite:{path}{rest}")
    assert str(caught.value).startswith(f"sqlite:{path}")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["some.db"]


def test_what_is_no_database_gets_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.db").write_bytes(b"")
    (tmp_path / "other.db").write_bytes(b"no database at all, and a long text of its own\n" * 9)
    database(tmp_path / "bare.db", "CREATE TABLE gone (a)", "DROP TABLE gone")
    whole = database(tmp_path / "cut.db", *PEOPLE).read_bytes()
    (tmp_path / "cut.db").write_bytes(whole[:1500])
    for source, message in {
        f"sqlite:{tmp_path}/empty.db": "empty.db: expected an SQLite database, got an empty file",
        f"{tmp_path}/other.db": "other.db: expected an SQLite database, got another file",
        f"sqlite:{tmp_path}/bare.db": "bare.db: expected a database with tables, got one without any",
        f"sqlite:{tmp_path}/cut.db#people": r"cut.db#people: expected .*, got.*malformed",
        f"sqlite:{tmp_path}/othr.db#a": r"othr.db#a: expected a file, got nothing \(did you mean 'other.db'\?\)",
        f"sqlite:{tmp_path}": "expected a file, got a folder",
        "sqlite:": "sqlite:: expected a file after sqlite:, got nothing",
        "sqlite:#people": "expected a file after sqlite:, got nothing",
        "sqlite:///nowhere.db": "expected a file, got nothing; write the path without the two slashes before it",
        "sqlite::memory:": "expected a file, got nothing",
    }.items():
        with pytest.raises(DataError, match=message) as caught:
            read(source)
        assert "\n" not in str(caught.value), source


def test_a_locked_database_is_waited_for_and_then_named(tmp_path: Path) -> None:
    path = database(tmp_path / "some.db", *PEOPLE)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(
            DataError, match=r"got one that another program keeps locked; .* data.readers.sqlite.timeout"
        ):
            read(f"sqlite:{path}#people", readers={"sqlite": {"timeout": 0.01}})
        other.execute("ROLLBACK")
    assert len(read(f"sqlite:{path}#people", readers={"sqlite": {"timeout": 0}})) == 3


def test_changes_in_wal_mode_are_read_and_nothing_is_made_beside_them(tmp_path: Path) -> None:
    path = database(tmp_path / "some.db", "PRAGMA journal_mode=WAL", *PEOPLE)
    assert names(tmp_path) == ["some.db"]
    assert len(read(f"sqlite:{path}#people")) == 3
    assert names(tmp_path) == ["some.db"]
    with closing(sqlite3.connect(path)) as other:  # somebody has it open, with a row that stands beside it only
        other.execute("INSERT INTO people VALUES (20, 'new', 1, NULL)")
        other.commit()
        beside = names(tmp_path)
        assert read(f"sqlite:{path}#people").cells("name")[-1] == "new"
        assert names(tmp_path) == beside


def test_a_writer_that_was_killed_loses_nothing_that_it_committed(tmp_path: Path) -> None:
    path = database(tmp_path / "some.db", "PRAGMA journal_mode=WAL", *PEOPLE)
    code = (
        "import os, sqlite3, sys; made = sqlite3.connect(sys.argv[1]); "
        "made.execute(\"INSERT INTO people VALUES (20, 'new', 1, NULL)\"); made.commit(); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    (tmp_path / "some.db-shm").unlink()  # as where both files were copied from elsewhere
    beside = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    assert read(f"sqlite:{path}#people").cells("name")[-1] == "new"
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == beside


def test_a_change_that_was_cut_off_is_named(tmp_path: Path) -> None:
    path = database(tmp_path / "some.db", "CREATE TABLE people (a TEXT)")
    code = (
        "import os, sqlite3, sys; made = sqlite3.connect(sys.argv[1]); made.execute('PRAGMA cache_size=5')\n"
        "for _ in range(3000): made.execute('INSERT INTO people VALUES (?)', ('x' * 500,))\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    with pytest.raises(DataError, match=r"got one whose last change was cut off \(some.db-journal stands beside it\)"):
        read(f"sqlite:{path}#people")


def test_a_database_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = database(tmp_path / "some.db", "PRAGMA journal_mode=WAL", *PEOPLE)
    from stepbus_plugins.readers import sqlite

    original = sqlite._columns

    def slow(source: Any, cursor: Any) -> Any:
        database(path, "INSERT INTO people VALUES (20, 'new', 1, NULL)")
        return original(source, cursor)

    monkeypatch.setattr(sqlite, "_columns", slow)
    with pytest.raises(DataError, match="expected a database that stays as it is while it is read, got a change; run"):
        read(f"sqlite:{path}#people")


def test_a_path_starts_at_the_file_that_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "run.json").write_text(
        json.dumps({"data": {"train": "sqlite:some.db#people", "test": "some.db"}})
    )
    database(tmp_path / "data" / "some.db", *PEOPLE)
    monkeypatch.chdir(tmp_path)
    settings = load_config("data/run.json").data.settings
    assert settings.train == f"sqlite:{tmp_path}/data/some.db#people"
    assert len(read_rows(settings.train, name="train", config=settings)) == 3
    assert len(read_rows(settings.test, name="test", config=settings)) == 3
    many = ", ".join(repr(str(number)) for number in range(200))
    config = load_config({}, [f"data.train=sqlite:some.db?query=SELECT * FROM people WHERE name IN ({many})"])
    assert config.data.settings.train.startswith(f"sqlite:{tmp_path}/some.db?query=SELECT")
    # Where a database lies decides nothing; another query shows in its rows.
    assert config.digest() == load_config({}, [f"data.train=sqlite:{tmp_path}/data/some.db"]).digest()


def test_sqlite_reads_a_full_text_index(tmp_path: Path) -> None:
    try:
        path = database(
            tmp_path / "some.db", "CREATE VIRTUAL TABLE found USING fts5(text)", "INSERT INTO found VALUES ('a film')"
        )
    except sqlite3.OperationalError:
        pytest.skip("this SQLite has no full-text index")
    assert read(f"sqlite:{path}#found").cells("text") == ["a film"]
    assert read(f"sqlite:{path}?query=SELECT text FROM found WHERE found MATCH 'film'").cells("text") == ["a film"]
