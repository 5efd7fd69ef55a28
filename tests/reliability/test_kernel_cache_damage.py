"""MLX's compiled kernels, whatever happens to the files: right numbers, and nothing that was planted runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stepbus.device import machine

pytestmark = pytest.mark.skipif(
    not machine.on_linux_cpu() or shutil.which("g++") is None, reason="only MLX's CPU wheel for Linux compiles with g++"
)

# Two kernels; the folder is printed as MLX was told it, and TMPDIR as the process has it.
COMPUTE = """
import json, os, sys, tempfile
from stepbus.device import backend
import mlx.core as mx
x = mx.arange(7.0) / 7
functions = [lambda x: mx.exp(x) * 2 + 1, lambda x: mx.tanh(x) - x * x]
answers = [mx.compile(function)(x).tolist() for function in functions]
print(json.dumps({
    "answers": answers, "folder": str(backend.kernels.folder), "store": str(backend.kernels.store),
    "temporary": tempfile.gettempdir(), "child": os.popen("echo $TMPDIR").read().strip(), "compiles": backend.compiles,
    "own": sorted(path.name for path in backend.kernels.kernels.glob("*.so")),
}))
"""
X = np.arange(7) / 7
ANSWERS = [np.exp(X) * 2 + 1, np.tanh(X) - X * X]


def environment(home: Path, **more: str) -> dict[str, str]:
    temporary = home / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    paths = os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)
    return {**os.environ, "PYTHONPATH": paths, "XDG_CACHE_HOME": str(home / "xdg"), "TMPDIR": str(temporary), **more}


def compute(home: Path, script: str = COMPUTE, **more: str) -> tuple[dict, str]:
    ran = subprocess.run(
        [sys.executable, "-c", script], env=environment(home, **more), capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    for answer, expected in zip(found["answers"], ANSWERS, strict=True):
        assert np.allclose(answer, expected, rtol=1e-6, atol=1e-7)
    return found, ran.stderr


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose store has both kernels."""
    home = tmp_path_factory.mktemp("filled")
    compute(home)
    return home


@pytest.fixture
def home(filled: Path, tmp_path: Path) -> Path:
    shutil.copytree(filled / "xdg", tmp_path / "xdg", symlinks=True)
    return tmp_path


def store(home: Path) -> Path:
    (found,) = (home / "xdg" / "stepbus" / "compiled" / "kernels").glob("0*")
    return found


def test_kernels_lie_in_the_users_cache_and_temporary_files_where_they_did(home: Path) -> None:
    found, said = compute(home)
    assert said == ""
    assert len(list(store(home).iterdir())) == 2
    assert found["temporary"] == found["child"] == str(home / "tmp")
    assert list((home / "tmp").iterdir()) == []
    assert found["store"] == str(store(home))
    assert not Path(found["folder"]).exists()  # removed at the end
    assert found["own"] == sorted(path.name for path in store(home).iterdir())


def planted(folder: Path, marker: Path) -> Path:
    """Compile a library that writes a file as soon as it is loaded."""
    source, library = folder / "evil.c", folder / "evil.so"
    source.write_text(
        "#include <stdio.h>\n__attribute__((constructor)) void evil(void) { "
        f'FILE *f = fopen("{marker}", "w"); fputs("ran", f); fclose(f); }}\n'
    )
    subprocess.run(["g++", "-x", "c", "-shared", "-fPIC", source, "-o", library], check=True)
    return library


def empty(path: Path, _: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path, _: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(0x1000, len(content), 64):
        content[place] ^= 0xFF
    path.write_bytes(content)


def plant(path: Path, evil: Path) -> None:
    path.write_bytes(evil.read_bytes())


def plant_with_its_old_end(path: Path, evil: Path) -> None:
    path.write_bytes(evil.read_bytes() + path.read_bytes()[-40:])


def link(path: Path, evil: Path) -> None:
    path.unlink()
    path.symlink_to(evil)


def folder(path: Path, _: Path) -> None:
    path.unlink()
    path.mkdir()


def swap(path: Path, _: Path) -> None:
    others = sorted(path.parent.glob("*.so"))
    path.write_bytes(others[others.index(path) - 1].read_bytes())


DAMAGES = (empty, plant, cut, link, flip, folder, swap, plant_with_its_old_end)


@pytest.mark.parametrize("turn", range(4))
def test_every_file_damaged(turn: int, home: Path) -> None:
    """Both kernels and both libraries, each another way; in four turns, every way comes to a kernel."""
    marker = home / "it-ran"
    evil = planted(home, marker)
    compiled = home / "xdg" / "stepbus" / "compiled"
    files = [*sorted(store(home).iterdir()), *sorted(compiled.glob("*.so"))]
    assert len(files) == 4
    for place, path in enumerate(files):
        DAMAGES[(2 * turn + place) % len(DAMAGES)](path, evil)
    _, said = compute(home)
    assert "2 files were no whole kernel of ours and removed" in said
    assert not marker.exists()
    assert compute(home)[1] == ""  # built anew, kept, and whole


def test_kernels_planted_where_mlx_looks_by_itself_are_not_loaded(home: Path, filled: Path) -> None:
    marker = home / "it-ran"
    evil = planted(home, marker)
    shared = home / "tmp" / "mlx" / store(filled).name.partition("-")[0] / "cpu"
    shared.mkdir(parents=True)
    for path in store(filled).iterdir():
        shutil.copy(evil, shared / path.name)
    assert len(list(shared.iterdir())) == 2
    cache_folder = home / "xdg"
    shutil.rmtree(cache_folder)
    compute(home)
    assert not marker.exists()


@pytest.mark.parametrize("place", ["", "compiled", "compiled/kernels"])
def test_a_folder_that_others_may_write_in_is_not_used(place: str, home: Path) -> None:
    marker = home / "it-ran"
    evil = planted(home, marker)
    for path in store(home).iterdir():
        plant(path, evil)
    (home / "xdg" / "stepbus" / place).chmod(0o777)
    found, said = compute(home)
    assert said.count("compiled kernels are kept for this process only") == 1
    assert "others may write in it (mode 777)" in said
    assert not Path(found["folder"]).is_relative_to(home / "xdg")
    assert not Path(found["folder"]).exists()
    assert not marker.exists()
    assert list((home / "tmp").iterdir()) == []


def test_a_cache_that_cannot_be_made(home: Path) -> None:
    shutil.rmtree(home / "xdg")
    (home / "xdg").write_text("in the way")
    found, said = compute(home)
    assert found["compiles"] and said.count("BackendWarning") == 1
    assert f"{home / 'xdg' / 'stepbus'}: cannot be made (Not a directory)" in said


def test_several_processes_at_once(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", COMPUTE], env=environment(tmp_path), stdout=-1, stderr=-1, text=True)
        for _ in range(3)
    ]
    for process in processes:
        out, said = process.communicate(timeout=300)
        assert (process.returncode, said) == (0, "")
        for answer, expected in zip(json.loads(out)["answers"], ANSWERS, strict=True):
            assert np.allclose(answer, expected, rtol=1e-6, atol=1e-7)
    assert len(list(store(tmp_path).iterdir())) == 2
    assert [path.name for path in store(tmp_path).parent.iterdir()] == [store(tmp_path).name]


def test_a_process_killed_while_the_compiler_runs(home: Path) -> None:
    for path in store(home).iterdir():
        path.unlink()
    process = subprocess.Popen(
        [sys.executable, "-c", COMPUTE], env=environment(home), stdout=-1, stderr=-1, start_new_session=True
    )
    kernels = store(home).parent
    while not list(kernels.glob(".process-*/mlx/*/cpu/*.cpp")):
        assert process.poll() is None
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (left,) = kernels.glob(".process-*")
    for path in left.glob("mlx/*/cpu/*.cpp"):  # the worst that a kill can leave
        path.with_name(f"lib{path.stem}.so").write_bytes(b"\x7fELF")
    assert compute(home)[1] == ""
    assert [path.name for path in kernels.iterdir()] == [store(home).name]
    assert len(list(store(home).iterdir())) == 2


# What a kill at the end would lose is kept before: here in the place of a checkpoint.
KILLED = COMPUTE + "\nsys.stdout.flush(); backend.kernels.keep(); os.kill(os.getpid(), 9)"
VANISHING = COMPUTE.replace("answers =", "import shutil; shutil.rmtree(os.environ['XDG_CACHE_HOME'])\nanswers =")


def test_what_was_kept_outlives_a_kill(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", KILLED], env=environment(tmp_path), capture_output=True, check=False)
    assert ran.returncode == -signal.SIGKILL
    assert len(list(store(tmp_path).iterdir())) == 2
    assert compute(tmp_path)[1] == ""


def test_a_cache_that_disappears_while_it_is_used(home: Path) -> None:
    compute(home, VANISHING)
    compute(home)
    assert compute(home)[1] == ""
    assert len(list(store(home).iterdir())) == 2


def test_mlx_imported_first_gets_the_private_folder_too(home: Path) -> None:
    found, said = compute(home, "import mlx.core\n" + COMPUTE)
    assert found["own"] == sorted(path.name for path in store(home).iterdir())
    assert found["temporary"] == found["folder"]
    assert "temporary files of this process go beside its compiled kernels" in said
    assert not Path(found["folder"]).exists()


def test_other_libraries_get_the_usual_temporary_folder(home: Path) -> None:
    """MLX asks the C++ library where temporary files go; so may any other, and it is told the truth."""
    (home / "ask.cpp").write_text(
        '#include <filesystem>\nextern "C" const char *ask() { static std::string s; '
        "s = std::filesystem::temp_directory_path().string(); return s.c_str(); }\n"
    )
    subprocess.run(["g++", "-std=c++17", "-shared", "-fPIC", home / "ask.cpp", "-o", home / "ask.so"], check=True)
    asks = f"""
import ctypes
ask = ctypes.CDLL({str(home / "ask.so")!r}).ask
ask.restype = ctypes.c_char_p
os.popen = lambda command: __import__("io").StringIO(ask().decode())
"""
    found, _ = compute(home, COMPUTE.replace("print(json", asks + "print(json"))
    assert found["child"] == str(home / "tmp")
    assert found["own"] == sorted(path.name for path in store(home).iterdir())


def test_a_compiler_that_fails_switches_compilation_off(home: Path) -> None:
    shutil.rmtree(home / "xdg")
    (home / "bin").mkdir()
    (home / "bin" / "g++").write_text('#!/bin/sh\n[ "$1" = --version ] && exit 0\necho no licence >&2\nexit 9\n')
    (home / "bin" / "g++").chmod(0o755)
    script = COMPUTE.replace("backend.kernels.folder", "''").replace("backend.kernels.store", "''")
    script = script.replace("backend.kernels.kernels.glob('*.so')", "()").replace(
        'sorted(path.name for path in backend.kernels.kernels.glob("*.so"))', "backend.kernels"
    )
    found, said = compute(home, script, PATH=f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert found["compiles"] is False and found["own"] is None
    assert "mx.compile is off because it compiles nothing here" in said
    assert "g++ failed with exit code 9, and said: no licence" in said
