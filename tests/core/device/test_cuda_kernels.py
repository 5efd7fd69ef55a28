"""Where MLX keeps its CUDA kernels. The files are made up here; on an H100, MLX filled the folder and read it again."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import mlx.core as mx
import pytest

from stepbus.device import backend, choice, cuda_kernels
from stepbus.device.cuda_kernels import VARIABLE, keep, number, remove_parts


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache folder, and no folder named for MLX, then or afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.delenv(VARIABLE)
    return tmp_path / "caches" / "stepbus" / "compiled" / "cuda"


def kernel(folder: Path, name: str, *suffixes: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for suffix in suffixes:
        (folder / f"{name}{suffix}").write_bytes(b"content")
    return folder / f"{name}.ptx"


def test_mlx_is_told_of_a_folder_of_the_users_own_for_its_version_and_the_card(caches: Path) -> None:
    folder = keep("0.32.4", "sm_90")
    assert folder == caches / "0.32.4-sm_90"
    assert os.environ[VARIABLE] == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    del os.environ[VARIABLE]
    assert keep("0.32.4", "sm_75") == caches / "0.32.4-sm_75"


def test_an_architecture_names_no_folder_elsewhere(caches: Path) -> None:
    assert keep("0.32.4", "../../x") == caches / "0.32.4-.._.._x"


def test_a_folder_that_the_user_named_stays(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/elsewhere")
    assert keep("0.32.4", "sm_90") is None
    assert os.environ[VARIABLE] == "/elsewhere"
    assert not caches.exists()


def test_where_no_folder_can_be_made_that_is_said_and_mlx_takes_its_own(
    caches: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caches.parent.mkdir(parents=True, mode=0o700)
    caches.write_text("a file")
    with caplog.at_level(logging.WARNING):
        assert keep("0.32.4", "sm_90") is None
    assert VARIABLE not in os.environ
    assert caplog.messages == [
        f"CUDA kernels are kept in MLX's own temporary folder: {caches}: expected a folder of your own, got a file; "
        "remove it, or name another by XDG_CACHE_HOME (tokens: data.cache)"
    ]


def test_kernels_whose_writing_was_cut_short_are_removed_and_no_others(tmp_path: Path) -> None:
    whole = kernel(tmp_path, "whole", ".ptx", ".txt", ".cu")
    long = kernel(tmp_path / ("n" * 245), "rest", ".ptx", ".txt", ".cu")  # MLX's way with a long name
    cut = [
        kernel(tmp_path, "first", ".ptx"),
        kernel(tmp_path, "second", ".ptx", ".txt"),
        kernel(tmp_path / ("m" * 245), "third", ".ptx"),
        kernel(tmp_path, "empty", ".ptx", ".txt", ".cu"),
        kernel(tmp_path, "unnamed", ".ptx", ".txt", ".cu"),
    ]
    cut[3].write_bytes(b"")
    cut[4].with_suffix(".txt").write_bytes(b"")
    assert number(tmp_path) == 7
    remove_parts(tmp_path)
    assert whole.exists()
    assert long.exists()
    assert not any(path.exists() for path in cut)
    assert number(tmp_path) == 2


def test_each_start_removes_them(caches: Path) -> None:
    folder = caches / "0.32.4-sm_90"
    caches.mkdir(parents=True, mode=0o700)
    folder.mkdir(mode=0o700)
    cut, whole = kernel(folder, "cut", ".ptx"), kernel(folder, "whole", ".ptx", ".txt", ".cu")
    keep("0.32.4", "sm_90")
    assert (cut.exists(), whole.exists()) == (False, True)


def test_the_first_fit_on_a_card_is_said_to_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    devices = [mx.Device(mx.cpu)]
    monkeypatch.setattr(backend, "kept_for_cuda", tmp_path)
    monkeypatch.setattr(mx.cuda, "is_available", lambda: True)
    monkeypatch.setattr(mx, "set_default_device", devices.append)
    monkeypatch.setattr(mx, "default_device", lambda: devices[-1])
    said = f"no CUDA kernel is compiled yet, which takes minutes at the first fit; they are kept in {tmp_path}"
    with caplog.at_level(logging.WARNING):
        choice.choose("cpu")
        assert caplog.messages == []
        choice.choose("auto")
        assert caplog.messages == [said]
        kernel(tmp_path, "whole", ".ptx", ".txt", ".cu")
        choice.choose("auto")
    assert caplog.messages == [said]


def test_without_a_cuda_wheel_nothing_is_named() -> None:
    if backend.version("mlx-cuda-12") or backend.version("mlx-cuda-13"):
        pytest.skip("MLX's CUDA wheel is installed")
    assert backend.kept_for_cuda is None
    assert cuda_kernels.VARIABLE not in os.environ
