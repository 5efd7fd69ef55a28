"""The folder of a process's kernels, and the store that it is filled from; no kernel is compiled here."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

import pytest

from stepbus.device import cache_folder, kernel_cache
from stepbus.device.kernel_cache import KernelCache

NAMES = {"libA.so", "libB.so"}


@pytest.fixture
def above(tmp_path: Path) -> Path:
    return cache_folder.own_folder(tmp_path / "kernels")


@pytest.fixture
def store(above: Path) -> Path:
    folder = cache_folder.own_folder(above, "0.0-x86_64-0")
    for name in NAMES:
        cache_folder.write_sealed(folder / name, name.encode() * 100)
    return folder


def opened(above: Path, store: Path) -> KernelCache:
    folder, lock = kernel_cache._process_folder(above)
    cache = KernelCache(store, folder, "0.0", lock)
    cache.fill()
    return cache


def content(cache: KernelCache) -> dict[str, bytes]:
    return {path.name: path.read_bytes().partition(cache_folder.MARK)[0] for path in cache.kernels.iterdir()}


def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)


def loaded_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cache, "_loaded", lambda folder: {p.name: p.stat().st_ino for p in folder.iterdir()})


@pytest.mark.parametrize("links", [True, False])
def test_a_process_gets_a_folder_of_its_own(
    links: bool, above: Path, store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if not links:
        no_links(monkeypatch)
    one, other = opened(above, store), opened(above, store)
    for cache in (one, other):
        assert content(cache) == {name: name.encode() * 100 for name in NAMES}
        folder = cache.kernels
        while folder != above:
            assert folder.stat().st_mode & 0o777 == 0o700
            folder = folder.parent
    (one.kernels / "libA.so").unlink()
    one.close()
    assert not one.folder.exists()
    assert content(other) == content(opened(above, store))
    assert caplog.text == ""


def test_what_is_no_whole_kernel_is_removed(
    above: Path, store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (store / "libA.so").write_bytes(b"")
    (store / "libplanted.so").write_bytes(b"\x7fELF" * 1000)
    (store / "liblink.so").symlink_to(store / "libB.so")
    (store / "libfolder.so").mkdir()
    (store / "libfolder.so" / "file").touch()
    (store / ".tmp-left").touch()
    with caplog.at_level(logging.WARNING):
        cache = opened(above, store)
    assert content(cache) == {"libB.so": b"libB.so" * 100}
    assert [path.name for path in store.iterdir()] == ["libB.so"]
    assert "5 files were no whole kernel of ours and removed" in caplog.text


def test_new_kernels_are_kept_once_they_were_loaded(above: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = opened(above, store)
    (cache.kernels / "libC.so").write_bytes(b"new")
    (cache.kernels / "C.cpp").write_bytes(b"source")
    cache.keep()  # g++ may be at it still
    assert {path.name for path in store.iterdir()} == NAMES
    loaded_all(monkeypatch)
    cache.keep()
    assert {path.name for path in store.iterdir()} == NAMES | {"libC.so"}
    assert cache_folder.read_sealed(store / "libC.so") == b"new"
    (store / "libC.so").unlink()
    cache.keep()  # known: nothing is read or written again
    assert {path.name for path in store.iterdir()} == NAMES


def test_a_kernel_that_was_replaced_after_it_was_loaded_is_not_kept(
    above: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = opened(above, store)
    (cache.kernels / "libC.so").write_bytes(b"new")
    monkeypatch.setattr(kernel_cache, "_loaded", lambda folder: {"libC.so": 1})
    cache.close()
    assert {path.name for path in store.iterdir()} == NAMES


def test_a_fork_keeps_and_removes_nothing(above: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = opened(above, store)
    (cache.kernels / "libC.so").write_bytes(b"new")
    loaded_all(monkeypatch)
    cache.process += 1
    cache.close()
    assert {path.name for path in store.iterdir()} == NAMES
    assert (cache.kernels / "libC.so").exists()


def test_a_store_that_is_gone_or_full_is_said(
    above: Path, store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = opened(above, store)
    (cache.kernels / "libC.so").write_bytes(b"new")
    loaded_all(monkeypatch)
    cache_folder.remove(store)
    cache.close()
    assert "the compiled kernels cannot be kept" in caplog.text
    assert not cache.folder.exists()


def test_a_copy_that_fails_leaves_no_part_of_a_kernel(
    above: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    folder, lock = kernel_cache._process_folder(above)
    cache = KernelCache(store, folder, "0.0", lock)
    no_links(monkeypatch)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        cache.fill()
    assert content(cache) == {}


def test_folders_of_the_dead_are_swept_and_those_of_the_living_stay(above: Path, store: Path) -> None:
    alive = opened(above, store)
    dead = opened(above, store)
    assert dead.lock is not None
    os.close(dead.lock)  # what the end of a process does, however it ends
    (above / ".process-empty").mkdir()
    (above / ".process-half" / "mlx").mkdir(parents=True)
    (above / ".process-file").touch()
    (above / ".process-link").symlink_to(store)
    kernel_cache._sweep(above)
    assert {path.name for path in above.iterdir()} == {store.name, alive.folder.name}
    assert {path.name for path in store.iterdir()} == NAMES


def test_a_new_folder_that_a_sweeper_took_is_made_again(above: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[Path] = []
    make, lock = kernel_cache.tempfile.mkdtemp, fcntl.flock

    def swept_at_once(**names: object) -> str:
        folder = make(**names)
        if not taken:
            taken.append(Path(folder))
            kernel_cache._sweep(above)
        return folder

    def swept_before_the_lock(descriptor: int, how: int) -> None:
        if len(taken) == 1:
            (folder,) = above.iterdir()
            taken.append(folder)
            cache_folder.remove(folder)
        lock(descriptor, how)

    monkeypatch.setattr(kernel_cache.tempfile, "mkdtemp", swept_at_once)
    monkeypatch.setattr(kernel_cache.fcntl, "flock", swept_before_the_lock)
    folder, _ = kernel_cache._process_folder(above)
    assert len({*taken, folder}) == 3
    assert folder.is_dir()


def test_a_path_that_a_shell_would_read_otherwise_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('a"b', "a$b", "a`b", "a\\b", "a\nb"):
        monkeypatch.setattr(kernel_cache.native_libraries, "folder", lambda name=name: tmp_path / name)
        with pytest.raises(OSError, match="expected a path without quotes"):
            kernel_cache._from_store("0.0")
