"""Files are read whole or not at all: plain ones, of bounded size, links followed only where that was asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stepbus.base.errors import CheckpointError, DataError, ModelError
from stepbus.base.reading import open_file, read_file, read_foreign, read_json

ODD: list[tuple[Callable[[Path], Any], str]] = [(Path.mkdir, "a folder"), (os.mkfifo, "a special file")]


def to_a_file(path: Path) -> None:
    path.with_name("file").write_bytes(b"far")
    path.symlink_to("file")


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize(("make", "kind"), ODD)
def test_only_plain_files_are_opened(make: Any, kind: str, links: bool, tmp_path: Path) -> None:
    make(tmp_path / "x")
    for read in (open_file, read_file):
        with pytest.raises(DataError, match=f"x: expected a file, got {kind}$"):
            read(tmp_path / "x", DataError, links=links)


def test_links_are_followed_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "x"
    to_a_file(path)
    assert read_file(path, ModelError, links=True) == read_foreign(path, ModelError) == b"far"
    with pytest.raises(CheckpointError, match="x: expected a file, got a link"):
        read_file(path, CheckpointError, links=False)


def test_a_link_to_a_device_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="x: expected a file, got a special file"):
        read_foreign(tmp_path / "x", ModelError)
    with pytest.raises(CheckpointError, match="x: expected a file, got a link"):
        read_file(tmp_path / "x", CheckpointError, links=False)


@pytest.mark.parametrize("links", [True, False])
def test_a_file_beyond_the_limit_is_not_read(links: bool, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(1100))
    assert read_file(tmp_path / "f", CheckpointError, 1100, links=links) == bytes(1100)
    with pytest.raises(CheckpointError, match=r"f: expected a file of at most 1,099 bytes, got 1,100$"):
        read_file(tmp_path / "f", CheckpointError, 1099, links=links)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs a file that says it is empty and is not")
def test_a_file_that_says_a_smaller_size_is_read_no_further_than_the_limit() -> None:
    with pytest.raises(DataError, match="maps: expected a file of at most 100 bytes, got 101"):
        read_foreign(Path("/proc/self/maps"), DataError, 100)


def test_what_the_file_system_refuses_is_an_error_of_the_callers_or_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "x", CheckpointError, links=False)
    with pytest.raises(ModelError, match="x: the file cannot be read: No such file or directory"):
        read_json(tmp_path / "x", ModelError)


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(bytes(9))
    before = len(list(Path("/dev/fd").iterdir()))
    for links in (True, False):
        with pytest.raises(DataError):
            read_file(tmp_path, DataError, links=links)
        with pytest.raises(DataError):
            read_file(tmp_path / "f", DataError, 3, links=links)
    assert len(list(Path("/dev/fd").iterdir())) == before
