"""SQLite files opened to be read only: no file is made beside them, and none is changed."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from stepbus import DataError, Source

_MAGIC = b"SQLite format 3\0"
_WAL = 2  # in the header's bytes 18 and 19: changes lie in a file of their own until they are taken over


@contextmanager
def opened(source: Source, timeout: float) -> Iterator[sqlite3.Connection]:
    """Open the database of a source, in one transaction.

    A database in WAL mode is read with the changes that stand beside it. SQLite would make files there: so where no
    other program has it open, it is read as one that nobody changes, or a copy of it is.

    Args:
        source: What names it.
        timeout: Seconds to wait for a lock.

    Raises:
        DataError: It is no database, cannot be opened, or was written to meanwhile.
    """
    path = source.path.resolve()
    with path.open("rb") as file:
        header = file.read(20)
    if not header.startswith(_MAGIC):
        got = "another file" if header else "an empty file"
        raise DataError(f"{source}: expected an SQLite database, got {got}")
    changes, shared = (path.with_name(f"{path.name}{ending}") for ending in ("-wal", "-shm"))
    if _WAL not in header[18:20] or shared.exists():
        with _connected(source, path, "mode=ro", timeout) as database:
            yield database
    elif changes.exists() and changes.stat().st_size:
        with tempfile.TemporaryDirectory(prefix="stepbus-") as folder, _unchanged(source, path, changes):
            for each in (path, changes):
                shutil.copyfile(each, Path(folder, each.name))
            with _connected(source, Path(folder, path.name), "mode=ro", timeout) as database:
                yield database
    else:
        with (
            _unchanged(source, path, changes, shared),
            _connected(source, path, "mode=ro&immutable=1", timeout) as database,
        ):
            yield database


@contextmanager
def _connected(source: Source, path: Path, options: str, timeout: float) -> Iterator[sqlite3.Connection]:
    try:
        database = sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, timeout=timeout, isolation_level=None)
    except sqlite3.Error as error:
        raise DataError(f"{source}: expected an SQLite database that can be opened, got: {error}") from None
    with closing(database):
        try:
            database.execute("BEGIN")
            database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        except sqlite3.Error as error:
            raise DataError(_why_not(source, path, error)) from None
        yield database


def _why_not(source: Source, path: Path, error: Exception) -> str:
    said = str(error)
    if "locked" in said:
        return (
            f"{source}: expected a database that can be read, got one that another program keeps locked; wait for it, "
            "or set data.readers.sqlite.timeout to more seconds"
        )
    if path.with_name(f"{path.name}-journal").exists():
        return (
            f"{source}: expected a database that was closed, got one whose last change was cut off "
            f"({path.name}-journal stands beside it); open it once with the program that wrote it, or with sqlite3, "
            "which takes the change back"
        )
    return f"{source}: expected an SQLite database, got a damaged one ({said})"


@contextmanager
def _unchanged(source: Source, *files: Path) -> Iterator[None]:
    """Refuse what was read of files that changed meanwhile."""

    def state() -> list[tuple[int, int] | None]:
        found = [each.stat() if each.exists() else None for each in files]
        return [None if each is None else (each.st_mtime_ns, each.st_size) for each in found]

    before = state()
    yield
    if state() != before:
        raise DataError(f"{source}: expected a database that stays as it is while it is read, got a change; run again")
