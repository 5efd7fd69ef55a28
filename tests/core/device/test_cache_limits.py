"""A cache stays within its limits: the least recently used goes first, and nothing that a process is at."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from stepbus.device.cache_limits import ABANDONED, in_use, make_room

NAMES, UNFINISHED = re.compile(r"[a-z]\.npz"), re.compile(r"\.tmp-.+")


def fill(folder: Path, names: str, size: int = 10) -> None:
    """Write files, each used a second later than the one before."""
    for at, name in enumerate(names):
        (folder / f"{name}.npz").write_bytes(bytes(size))
        os.utime(folder / f"{name}.npz", (1000 + at, 1000 + at))


def left(folder: Path) -> str:
    return "".join(sorted(path.stem for path in folder.iterdir()))


def room(folder: Path, files: int = 99, size: int = 10**9) -> None:
    make_room(folder, NAMES, UNFINISHED, files=files, size=size)


@pytest.mark.parametrize(
    ("limits", "stay"),
    [({"files": 3}, "cab"), ({"size": 35}, "cab"), ({"size": 30}, "cab"), ({"size": 29}, "ab"), ({"files": 5}, "edcab"),
     ({"files": 1, "size": 30}, "b"), ({"files": 0}, ""), ({"size": 9}, "")],
)  # fmt: skip
def test_the_least_recently_used_go_until_both_limits_hold(limits: dict[str, int], stay: str, tmp_path: Path) -> None:
    fill(tmp_path, "edcab")
    room(tmp_path, **limits)
    assert left(tmp_path) == "".join(sorted(stay))


def test_what_is_read_counts_as_used_now(tmp_path: Path) -> None:
    fill(tmp_path, "abc")
    descriptor = os.open(tmp_path / "a.npz", os.O_RDONLY)
    in_use(descriptor)
    os.close(descriptor)
    room(tmp_path, files=1)
    assert left(tmp_path) == "a"


def test_what_another_process_reads_stays_and_the_next_one_goes(tmp_path: Path) -> None:
    fill(tmp_path, "abc")
    code = (
        "import os, sys\nfrom stepbus.device.cache_limits import in_use\n"
        "file = os.open(sys.argv[1], os.O_RDONLY); in_use(file); os.utime(file, (1, 1))\n"
        "print('reading', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.npz")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdin is not None
        assert reader.stdout.readline() == "reading\n"
        room(tmp_path, files=1)
        assert left(tmp_path) == "a"
        room(tmp_path, files=0)
        assert left(tmp_path) == "a"
        reader.stdin.close()
        assert reader.wait() == 0
    room(tmp_path, files=0)
    assert left(tmp_path) == ""


def test_one_process_makes_room_at_a_time(tmp_path: Path) -> None:
    fill(tmp_path, "abc")
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    room(tmp_path, files=0)
    assert left(tmp_path) == "abc"
    os.close(held)
    room(tmp_path, files=0)
    assert left(tmp_path) == ""


def test_nothing_else_is_touched(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    (tmp_path / "notes.md").write_text("mine")
    (tmp_path / "thesis.npz").write_text("mine")
    (tmp_path / "d.npz").mkdir()
    far = tmp_path / "far"
    far.mkdir()
    (far / "x").write_text("far away")
    (tmp_path / "l.npz").symlink_to(far / "x")
    kept = [path for path in tmp_path.iterdir() if path.name != "a.npz"]
    if os.geteuid() == 0:
        (tmp_path / "o.npz").write_text("somebody else's")
        os.chown(tmp_path / "o.npz", 4321, -1)
        kept.append(tmp_path / "o.npz")
    room(tmp_path, files=0, size=0)
    assert sorted(tmp_path.iterdir()) == sorted(kept)
    assert (far / "x").read_text() == "far away"


def test_what_a_kill_left_unfinished_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    for name in (".tmp-old", ".tmp-held", ".tmp-young"):
        (tmp_path / name).write_text("half")
        if name != ".tmp-young":
            os.utime(tmp_path / name, (1, 1))
    writer = os.open(tmp_path / ".tmp-held", os.O_RDWR)
    fcntl.flock(writer, fcntl.LOCK_SH)
    room(tmp_path)
    os.close(writer)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-held", ".tmp-young"]
    assert ABANDONED >= 60


def test_a_folder_that_is_not_there_is_the_callers_to_say(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        room(tmp_path / "nowhere")
