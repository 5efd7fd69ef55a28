"""The user's cache folder: what is trusted there, and what is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stepbus.device import cache_folder
from stepbus.device.cache_folder import own_folder, read_sealed, write_sealed

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
CONTENT = b"\x7fELF" + bytes(range(256)) * 40


def test_a_folder_is_made_for_this_user_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = own_folder(tmp_path / "home" / "cache" / "stepbus", "compiled", "kernels")
    finally:
        os.umask(before)
    while made != tmp_path:
        assert made.stat().st_mode & 0o777 == 0o700, made
        made = made.parent


def test_it_lies_where_the_standard_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, expected in (("/some/cache", "/some/cache"), ("", tmp_path / ".cache"), ("a/b", tmp_path / ".cache")):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert cache_folder.root() == Path(expected) / "stepbus"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(OSError, match="no home folder"):
        cache_folder.root()


def link(path: Path) -> None:
    path.parent.joinpath("other").mkdir()
    path.symlink_to(path.parent / "other")


def dangling(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def foreign(path: Path) -> None:
    path.mkdir()
    os.chown(path, 4321, -1)


def group(path: Path) -> None:
    path.mkdir()
    path.chmod(0o770)


def everybody(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


@pytest.mark.parametrize("below", ["", "compiled"])
@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (link, "expected a folder of your own, got a link"),
        (dangling, "expected a folder of your own, got a link"),
        (Path.touch, "expected a folder of your own, got a file"),
        pytest.param(foreign, "expected a folder of your own, got one of user 4321", marks=as_root),
        (group, r"others may write in it \(mode 770\)"),
        (everybody, r"others may write in it \(mode 777\)"),
    ],
)
def test_a_folder_that_others_could_fill_is_refused(plant, said: str, below: str, tmp_path: Path) -> None:
    folder = tmp_path / "stepbus"
    if below:
        folder.mkdir(mode=0o700)
    plant(folder / below if below else folder)
    with pytest.raises(OSError, match=f"^{folder / below}: .*{said}"):
        own_folder(folder, "compiled", "kernels")


def test_a_folder_below_one_that_everybody_may_write_in_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(OSError, match="everybody may write in it"):
        own_folder(tmp_path / "shared" / "stepbus")
    (tmp_path / "shared").chmod(0o1777)  # as /tmp: nobody can rename what is another's
    own_folder(tmp_path / "shared" / "stepbus")


def test_a_link_above_is_the_users_own_business(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / ".cache").symlink_to(tmp_path / "disk")
    assert own_folder(tmp_path / ".cache" / "stepbus").is_dir()


def test_a_sealed_file_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    for content in (CONTENT, b"", CONTENT[:100]):
        write_sealed(path, content)
        assert read_sealed(path) == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["lib.so"]
    assert read_sealed(tmp_path / "missing.so") is None


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lib.so"
    write_sealed(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_sealed(path, CONTENT)
    assert read_sealed(path) == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["lib.so"]


def test_every_cut_and_every_flipped_byte_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    write_sealed(path, CONTENT[:200])
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place])
        assert read_sealed(path) is None, place
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert read_sealed(path) is None, place
    path.write_bytes(whole + b"\0")
    assert read_sealed(path) is None
    path.write_bytes(whole)
    assert read_sealed(path) == CONTENT[:200]


def test_what_is_no_file_of_our_own_is_not_read(tmp_path: Path) -> None:
    good, path = tmp_path / "lib.so", tmp_path / "other" / "lib.so"
    path.parent.mkdir()
    write_sealed(good, CONTENT)
    path.symlink_to(good)
    assert read_sealed(path) is None
    path.unlink()
    os.mkfifo(path)
    assert read_sealed(path) is None  # and does not wait for a writer
    path.unlink()
    path.mkdir()
    assert read_sealed(path) is None
    write_sealed(path, CONTENT)  # whatever stands there gives way
    assert read_sealed(path) == CONTENT
    path.chmod(0o622)
    assert read_sealed(path) is None
    renamed = path.with_name("lib2.so")
    write_sealed(path, CONTENT)
    path.rename(renamed)
    assert read_sealed(renamed) is None


@as_root
def test_somebody_elses_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    write_sealed(path, CONTENT)
    os.chown(path, 4321, -1)
    assert read_sealed(path) is None


def test_removing_a_link_leaves_what_it_points_at(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    cache_folder.remove(tmp_path / "link")
    cache_folder.remove(tmp_path / "missing")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    cache_folder.remove(tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []
