"""The lock of a folder whose holder goes away, and of one that is not ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stepbus import CheckpointError
from stepbus.storage.locks import LOCK, FolderHeld, lock_folder, remove_made


def test_what_was_made_is_told(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "a" / "b") as made:
        assert made == [tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / LOCK]
    with lock_folder(tmp_path / "a" / "b") as made:
        assert made == []


def test_a_lock_on_a_file_that_was_removed_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused run removes its folder while another one waits at the door: the second holds the new file."""
    from stepbus.storage import locks

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).touch()
    opened = []
    original = locks._open

    def slow(file: Path) -> tuple[int, bool]:
        found = original(file)
        opened.append(found)
        if len(opened) == 1:
            remove_made([tmp_path / "run", file])  # between opening and locking
        return found

    monkeypatch.setattr(locks, "_open", slow)
    with lock_folder(tmp_path / "run") as made:
        assert len(opened) == 2
        assert made == [tmp_path / "run", tmp_path / "run" / LOCK]
        monkeypatch.undo()
        with pytest.raises(FolderHeld, match="this very process"), lock_folder(tmp_path / "run"):
            pytest.fail("two hold one folder")


def test_one_who_finds_a_folder_held_removes_nothing(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "run"):
        with pytest.raises(FolderHeld), lock_folder(tmp_path / "run"):
            pytest.fail("two hold one folder")
        assert (tmp_path / "run" / LOCK).read_text() == f"{os.getpid()}\n"


def test_a_missing_folder_is_not_made_for_a_resume(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match="run: the folder was removed"),
        lock_folder(tmp_path / "run", create=False),
    ):
        pytest.fail("it was made")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["my notes", "12 34", "123\n\n", "-5\n"])
def test_a_file_of_somebody_elses_is_no_lock(content: str, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(content)
    with pytest.raises(CheckpointError, match=r"\.lock: expected the lock of a run"), lock_folder(tmp_path):
        pytest.fail("it was taken")
    assert (tmp_path / LOCK).read_text() == content


def test_a_refusal_takes_back_the_folders_it_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stepbus.storage import locks

    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with pytest.raises(CheckpointError, match="cannot lock files"), lock_folder(tmp_path / "a" / "b"):
        pytest.fail("it was taken")
    assert list(tmp_path.iterdir()) == []
