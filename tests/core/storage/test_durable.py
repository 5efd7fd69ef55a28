"""Atomic files, strict JSON, the lock of a folder."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stepbus import CheckpointError
from stepbus.storage.durable import (
    BLOCK,
    LOCK,
    from_json,
    fsync_folder,
    lock_folder,
    to_json,
    write_bytes_atomically,
    write_file,
    write_json_atomically,
    write_text_atomically,
)

# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_write_file_returns_size_and_digest(size: int, tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(size)
    written = write_file(tmp_path / "x", [content[:5], content[5:]])
    assert (tmp_path / "x").read_bytes() == content
    assert written.size == size
    assert written.sha256 == hashlib.sha256(content).hexdigest()


def test_write_file_refuses_to_overwrite(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    (tmp_path / "link").symlink_to("x")
    for name in ("x", "link"):
        with pytest.raises(FileExistsError):
            write_file(tmp_path / name, [b"other"])
    assert (tmp_path / "x").read_text() == "mine"


def test_atomic_writes_replace(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_text_atomically(path, "größer\n")
    assert path.read_bytes() == "größer\n".encode()
    write_json_atomically(path, {"a": [1, 2.5, None]})
    assert from_json(path.read_text()) == {"a": [1, 2.5, None]}
    write_bytes_atomically(path, b"\0\1")
    assert path.read_bytes() == b"\0\1"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_atomic_write_replaces_a_link_and_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    (tmp_path / "x").symlink_to("target")
    write_text_atomically(tmp_path / "x", "new")
    assert (tmp_path / "target").read_text() == "kept"
    assert (tmp_path / "x").read_text() == "new"
    assert not (tmp_path / "x").is_symlink()


@pytest.mark.parametrize("operation", ["write", "fsync", "replace"])
def test_atomic_write_that_fails_keeps_the_old(operation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text_atomically(tmp_path / "x", "old")

    def refuse(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, operation, refuse)
        with pytest.raises(OSError, match="No space"):
            write_text_atomically(tmp_path / "x", "new")
    assert (tmp_path / "x").read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_the_disk_is_asked_in_the_right_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content, then its sync, then the rename, then the folder's sync."""
    done: list[str] = []
    for name in ("write", "fsync", "replace"):
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, _n=name, _o=original: (done.append(_n), _o(*args))[1])
    if sys.platform == "darwin":
        import fcntl

        original_fcntl = fcntl.fcntl
        monkeypatch.setattr(fcntl, "fcntl", lambda *args: (done.append("fsync"), original_fcntl(*args))[1])
    write_text_atomically(tmp_path / "x", "new")
    assert done == ["write", "fsync", "replace", "fsync"]


def test_fsync_folder_wants_a_folder(tmp_path: Path) -> None:
    fsync_folder(tmp_path)
    (tmp_path / "x").touch()
    with pytest.raises(NotADirectoryError):
        fsync_folder(tmp_path / "x")


# --- JSON ------------------------------------------------------------------------------------------------------------

KEYS = st.text(max_size=8).filter(lambda key: key != "$number")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
@settings(max_examples=50, deadline=None)
def test_json_gives_back_what_it_took(value: Any) -> None:
    text = to_json(value)
    again = from_json(text)
    assert again == value
    assert to_json(again) == text  # floats bit for bit, keys in their order
    assert text.isascii()


def test_json_keeps_numbers_that_json_has_not() -> None:
    again = from_json(to_json({"loss": math.nan, "best": [math.inf, -math.inf]}))
    assert math.isnan(again["loss"])
    assert again["best"] == [math.inf, -math.inf]
    assert '"$number": "nan"' in to_json(math.nan)


def test_json_keeps_types() -> None:
    again = from_json(to_json({"a": 1, "b": 1.0, "c": True, "d": (1, 2), "e": np.float64(0.1), "f": 2**70}))
    assert [type(value) for value in again.values()] == [int, float, bool, list, float, int]
    assert again["e"] == 0.1


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": {"b": [1, {2, 3}]}}, r"a\.b\[1\]: expected a JSON value, got builtins\.set"),
        ({"a": np.float32(1)}, r"a: expected a JSON value, got numpy\.float32"),
        ({"a": np.int64(1)}, r"a: expected a JSON value, got numpy\.int64"),
        ({"a": {1: 2}}, "a: expected str keys"),
        ({"$number": 2}, "top level: expected str keys other than"),
        (b"x", "top level: expected a JSON value, got builtins.bytes"),
        ({"path": Path("x")}, "path: expected a JSON value"),
    ],
)
def test_json_refuses_what_would_not_come_back(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        to_json(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "'a' again"),
        ('{"a": NaN}', "got NaN"),
        ("[Infinity]", "got Infinity"),
        ('{"$number": "1"}', "expected \\$number"),
        ('{"$number": "nan", "a": 1}', "expected \\$number"),
        ("[" * 100_000, "nested too deeply"),
        ("{", "Expecting property name"),
        ("", "Expecting value"),
    ],
)
def test_json_refuses_what_it_would_not_write(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_json(text)


# --- the lock --------------------------------------------------------------------------------------------------------


HOLDER = """
import os, sys, time
from pathlib import Path
from stepbus.storage.locks import lock_folder
with lock_folder(Path(sys.argv[1])):
    if sys.argv[2:] == ["fork"]:
        heard, said = os.pipe()
        if os.fork() == 0:
            sys.stdout.close()
            os.write(said, b"!")
            time.sleep(60)  # a worker that outlives its parent
        os.read(heard, 1)  # it runs, so it has let go of the lock that it inherited
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


def hold(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", HOLDER, str(folder), *arguments]
    holder = subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment, text=True, start_new_session=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == str(holder.pid)
    return holder


@pytest.mark.parametrize("arguments", [(), ("fork",)])
def test_lock_of_a_live_holder_and_of_a_dead_one(arguments: tuple[str, ...], tmp_path: Path) -> None:
    holder = hold(tmp_path / "run", *arguments)
    try:
        with (
            pytest.raises(CheckpointError, match=f"process {holder.pid} is running in this folder"),
            lock_folder(tmp_path / "run"),
        ):
            pytest.fail("two hold it")
        holder.kill()
        holder.wait()
        with lock_folder(tmp_path / "run"):  # free at once, even if a worker of the dead one lives on
            assert (tmp_path / "run" / LOCK).read_text() == f"{os.getpid()}\n"
    finally:
        os.killpg(holder.pid, signal.SIGKILL) if arguments else holder.kill()
        holder.wait()
        assert holder.stdout is not None
        holder.stdout.close()


def test_lock_is_released_and_taken_again(tmp_path: Path) -> None:
    for _ in range(3):
        with lock_folder(tmp_path), pytest.raises(CheckpointError, match="this very process"), lock_folder(tmp_path):
            pytest.fail("held twice")
    with pytest.raises(KeyError), lock_folder(tmp_path):
        raise KeyError
    with lock_folder(tmp_path):
        pass


def test_lock_of_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="expected a folder that can be written"), lock_folder(tmp_path / "file"):
        pytest.fail("a file was locked")
    (tmp_path / LOCK).symlink_to("file")
    with pytest.raises(CheckpointError, match="expected a folder that can be written"), lock_folder(tmp_path):
        pytest.fail("a link was followed")
