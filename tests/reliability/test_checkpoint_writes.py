"""A save that is killed, or that the file system refuses, never costs a checkpoint that was durable."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stepbus import CheckpointError, Retention
from stepbus.storage.checkpoints import Snapshot, latest_valid, read_document, retire, scan, write_checkpoint

SCRIPT = Path(__file__).with_name("kill_points.py")
STALE = re.compile(r"\.(tmp|trash|replaced)-.*")


def run_script(*arguments: str) -> list[dict[str, Any]]:
    """Run the script where MLX was never imported; its lines."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-W", "error", str(SCRIPT), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("scenario", "old", "new", "least"),
    [
        ("first", None, 0, 50),  # nothing was durable before
        ("next", 100, 200, 60),
        ("again", 100, 100, 60),  # the only checkpoint is replaced by one of its own step
        ("retiring", 300, 500, 90),
        ("recovering", 100, 200, 70),  # a save and a resume were killed before
    ],
)
def test_killed_before_each_operation(scenario: str, old: int | None, new: int, least: int, tmp_path: Path) -> None:
    results = run_script("each", scenario, str(tmp_path))
    assert len(results) >= least
    assert [result["killed"] for result in results] == [True] * (len(results) - 1) + [False]
    labels = {old: "old", new: "new"} if old != new else {}
    seen = []
    for result in results:
        assert "error" not in result, result
        assert result["step"] in (old, new), result
        seen.append(result.get("label", "none"))
        if labels and result["step"] is not None:
            assert result["label"] == labels[result["step"]], result
        if old is not None:
            assert result["best"], result
        # The next save of a run that is started now leaves no trace of the dead one.
        assert not [name for name in result["left"] if STALE.fullmatch(name)], result
        assert "step-00001000" in result["left"], result
    # First the old one is found, from one operation on the new one, and never the old one again.
    before = "none" if old is None else "old"
    switch = seen.index("new")
    assert 0 < switch < len(seen) - 1
    assert seen == [before] * switch + ["new"] * (len(seen) - switch)


@pytest.mark.parametrize(("last", "best"), [("none", 1), ("0", 0), ("2", 1)])
def test_killed_before_each_operation_while_a_finished_fit_is_freed(last: str, best: int, tmp_path: Path) -> None:
    results = run_script("free", last, str(best), str(tmp_path))
    assert len(results) >= 30
    assert [result["killed"] for result in results] == [True] * (len(results) - 1) + [False]
    stay = {"none": {100: False, 300: True}, "0": {}, "2": {100: False, 200: True, 300: True}}[last]
    for result in results:
        assert result["found"] == (None if last == "0" else 300), result  # it could go on at any moment
        names = {f"step-{step:08d}": whole for step, whole in stay.items()}
        assert result["whole"] == names, result
        assert result["left"] == sorted([*names, *(("BEST", "LATEST", "best") if names else ())]), result
        assert result["same"] == [step == 100 for step in stay], result


def test_killed_at_random_moments(tmp_path: Path) -> None:
    results = run_script("random", "40", "20240607", str(tmp_path))
    assert len(results) == 40
    for result in results:
        assert "error" not in result, result
        assert result["step"] >= result["reported"], result  # what was reported durable is there
        assert result["best"], result
        assert not [name for name in result["left"] if STALE.fullmatch(name)], result
    assert max(result["reported"] for result in results) > 0


def can_mount() -> bool:
    """Say whether this process may mount a small disk of its own: Linux, as root."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    command = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=64k none /mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="mounting a small disk needs root on Linux")
def test_real_disk_full_and_read_only(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    inner = f"mount -t tmpfs -o size=256k none '{tmp_path}' && '{sys.executable}' '{SCRIPT}' fill '{tmp_path}'"
    command = ["unshare", "-m", "sh", "-c", inner]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert "No space left on device" in result["full"]
    assert "environment.output_dir" in result["full"]
    assert result["saved"] > 1
    assert result["found"] == result["found_read_only"] == result["saved"] - 1
    assert not [name for name in result["left"] if STALE.fullmatch(name)]
    assert "Read-only file system" in result["read_only"]


# --- refused operations, injected one by one -------------------------------------------------------------------------


def snapshot(step: int, label: str) -> Snapshot:
    arrays = {"model": {"weight": np.full((4, 3), step, np.float32)}}
    return Snapshot(step=step, arrays=arrays, documents={"state.json": {"label": label}})


class Refusing:
    """Let one operation fail from its n-th call on, as a disk does that is full or gone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, number: int, code: int) -> None:
        self.calls, self.failed = 0, False
        original = getattr(os, name)

        def operation(*args: Any, **kwargs: Any) -> Any:
            if name == "open" and not args[1] & os.O_CREAT:
                return original(*args, **kwargs)
            self.calls += 1
            if self.calls >= number:
                self.failed = True
                raise OSError(code, os.strerror(code), str(args[0]))
            return original(*args, **kwargs)

        monkeypatch.setattr(os, name, operation)


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("write", errno.ENOSPC),
        ("write", errno.EIO),
        ("write", errno.EDQUOT),
        ("open", errno.EROFS),
        ("open", errno.ENOSPC),
        ("open", errno.EMFILE),
        ("fsync", errno.EIO),
        ("fsync", errno.ENOSPC),
        ("mkdir", errno.EROFS),
        ("mkdir", errno.EACCES),
        ("rename", errno.EIO),
        ("replace", errno.ENOSPC),
    ],
)
def test_refused_from_each_call_on(
    operation: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: Any
) -> None:
    folder = tmp_path / "checkpoints"
    write_checkpoint(folder, snapshot(0, "old"))
    write_checkpoint(folder, snapshot(100, "old"))
    for number in range(1, 100):
        with tally("6 disk full or read-only", f"{operation}, {os.strerror(code)}, call {number}") as seen:
            with monkeypatch.context() as patch:
                refusing = Refusing(patch, operation, number, code)
                try:
                    write_checkpoint(folder, snapshot(100, "new"))
                except CheckpointError as error:
                    assert refusing.failed
                    assert "checkpoint of step 100" in str(error)
                    assert os.strerror(code) in str(error)
                    seen.refused(str(error))
                else:
                    assert not refusing.failed, "a refusal was swallowed"
            found = latest_valid(folder, pytest.fail)  # nothing is damaged, so nothing is said
            assert found is not None
            assert found.step == 100
            assert read_document(found, "state.json")["label"] in ("old", "new")
            retire(folder, Retention())
            assert not [path.name for path in folder.iterdir() if STALE.fullmatch(path.name)]
            assert len(scan(folder)) == 2
            seen.went_on()
        if not refusing.failed:
            break
    assert number > (1 if operation in ("mkdir", "replace") else 2)


def test_file_system_that_gives_back_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that lies is found when the checkpoint is read back, before it gets its name."""
    folder = tmp_path / "checkpoints"
    write_checkpoint(folder, snapshot(100, "old"))
    original = os.write

    def lying(descriptor: int, content: Any) -> int:
        content = bytes(content)
        return original(descriptor, content.replace(b"new", b"n3w"))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lying)
        with pytest.raises(CheckpointError, match=r"state\.json: the content is not what was written"):
            write_checkpoint(folder, snapshot(200, "new"))
    assert sorted(path.name for path in folder.iterdir()) == ["LATEST", "step-00000100"]


@pytest.mark.parametrize("short", [1, 7, 4096])
def test_writes_that_take_less_than_given(short: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: original(descriptor, content[:short]))
    write_checkpoint(tmp_path, snapshot(5, "whole"))
    found = latest_valid(tmp_path, pytest.fail)
    assert found is not None
    assert read_document(found, "state.json") == {"label": "whole"}
