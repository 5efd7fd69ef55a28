"""Libraries compiled on first use: kept, checked, compiled anew, and what is said of a compiler that fails."""

from __future__ import annotations

import ctypes
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepbus.device import cache_folder, native_libraries
from stepbus.device.machine import BackendWarning

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="Linux with a compiler compiles them"
)
C = ("-x", "c")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    native_libraries.folder.cache_clear()
    yield tmp_path / "xdg" / "stepbus" / "compiled"
    native_libraries.folder.cache_clear()


def answer(number: int, name: str = "answer") -> int:
    # A source of its own for each test: a library that is loaded once stays loaded.
    return int(getattr(native_libraries.load(name, f"int {name}(void) {{ return {number}; }}", ("cc",), C), name)())


def test_it_is_compiled_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer(7, "once") == 7
    (path,) = home.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(native_libraries, "_compile", lambda *_: pytest.fail("compiled again"))
    assert answer(7, "once") == 7


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "link", "folder", "planted"])
def test_a_damaged_one_is_compiled_anew(damage: str, home: Path, tmp_path: Path) -> None:
    name = f"damaged_{damage}"
    source = f"int {name}(void) {{ return 1; }}"
    path = cache_folder.own_folder(home) / f"{name}.so"
    content = native_libraries._compile(source, ("cc",), C)
    planted = native_libraries._compile(f"int {name}(void) {{ return 666; }}", ("cc",), C)
    cache_folder.write_sealed(path, content)
    # The name that `load` gives it, without loading it.
    digest = native_libraries.hashlib.sha256("\0".join((source, *C)).encode()).hexdigest()[:12]
    place = home / f"{name}-{native_libraries.platform.machine()}-{digest}.so"
    path.unlink()
    cache_folder.write_sealed(place, content)
    whole = place.read_bytes()
    if damage == "empty":
        place.write_bytes(b"")
    elif damage == "cut":
        place.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        place.write_bytes(whole[:5000] + bytes([whole[5000] ^ 255]) + whole[5001:])
    else:
        place.unlink()
        (tmp_path / "evil.so").write_bytes(planted)
        if damage == "link":
            place.symlink_to(tmp_path / "evil.so")
        elif damage == "folder":
            place.mkdir()
        else:
            place.write_bytes(planted)
    assert answer(1, name) == 1
    assert cache_folder.read_sealed(place) == content


def test_one_that_cannot_be_loaded_here_is_compiled_anew(home: Path) -> None:
    source = "int elsewhere(void) { return 3; }"
    digest = native_libraries.hashlib.sha256("\0".join((source, *C)).encode()).hexdigest()[:12]
    place = cache_folder.own_folder(home) / f"elsewhere-{native_libraries.platform.machine()}-{digest}.so"
    cache_folder.write_sealed(place, b"\x7fELF of another machine")
    assert native_libraries.load("elsewhere", source, ("cc",), C).elsewhere() == 3


def compiler(folder: Path, script: str) -> tuple[str, ...]:
    path = folder / "faulty-cc"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return (str(path),)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo no such option >&2; echo at all >&2; exit 3",
            "failed with exit code 3, and said: no such option at all",
        ),
        ("exit 1", "failed with exit code 1, and said: nothing"),
        ("kill -9 $$", "was killed by SIGKILL"),
        ("exit 0", "ended well, and wrote nothing"),
        ('for last; do :; done; : > "$last"', "ended well, and wrote nothing"),
        ('for last; do :; done; echo hello > "$last"', "ended well, and wrote no library"),
    ],
)
def test_a_compiler_that_fails_is_said_in_one_sentence(script: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(OSError) as caught:
        native_libraries.load("never", "int never;", compiler(tmp_path, script), C)
    assert str(caught.value) == f"{tmp_path / 'faulty-cc'} {said}"


def test_a_compiler_that_hangs_or_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_libraries, "PATIENCE", 0.05)
    with pytest.raises(OSError, match="did not end within"):
        native_libraries.load("never", "int never;", compiler(tmp_path, "exec sleep 60"), C)
    (tmp_path / "faulty-cc").write_bytes(b"\x7fELF no program")
    with pytest.raises(OSError, match=r"faulty-cc cannot be run \(Exec format error\)"):
        native_libraries.load("never", "int never;", (str(tmp_path / "faulty-cc"),), C)
    with pytest.raises(OSError, match=r"no compiler \(nocc or nogcc\) is on PATH"):
        native_libraries.load("never", "int never;", ("nocc", "nogcc"), C)


def test_a_folder_that_cannot_be_trusted_gives_way_to_a_private_one(home: Path) -> None:
    home.parent.parent.mkdir()
    home.parent.mkdir(mode=0o700)
    home.parent.chmod(0o777)
    with pytest.warns(BackendWarning, match="kept for this process only.*others may write in it"):
        assert answer(9, "private") == 9
    private = native_libraries.folder()
    assert home not in private.parents
    assert private.stat().st_mode & 0o777 == 0o700
    assert list(home.parent.iterdir()) == []
    native_libraries._remove(private, owner=0)  # a fork's end is not the end
    assert private.is_dir()
    native_libraries._remove(private, owner=native_libraries.os.getpid())
    assert not private.exists()


def test_what_is_loaded_is_seen_by_all() -> None:
    assert answer(11, "seen_by_all") == 11
    assert ctypes.CDLL(None).seen_by_all() == 11
