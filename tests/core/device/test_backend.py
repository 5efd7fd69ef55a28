"""The fast BLAS in front of MLX: what is loaded, and what is said when it cannot be."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from stepbus.device import backend, blas, machine

linux_cpu = pytest.mark.skipif(not machine.on_linux_cpu(), reason="only MLX's CPU wheel for Linux needs another BLAS")

REPORT = """
import json, sys, warnings
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    try:
        from stepbus.device import backend
        facts = backend.describe_machine()
    except Exception as error:
        facts = {"error": f"{type(error).__name__}: {error}"}
print(json.dumps({**facts, "warnings": [f"{w.category.__name__}: {w.message}" for w in seen]}))
"""


def start(before: str = "", errors: int | None = None, **environment: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join(str(Path(p).resolve()) for p in sys.path if p)
    kept = {name: value for name, value in os.environ.items() if name not in ("STEPBUS_BLAS", "OPENBLAS_NUM_THREADS")}
    return subprocess.Popen(
        [sys.executable, "-c", before + REPORT],
        env={**kept, "PYTHONPATH": paths, **environment},
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
    )


def report(before: str = "", **environment: str) -> dict:
    process = start(before, **environment)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return json.loads(out)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float64, mx.complex64])
def test_products_are_right(dtype):
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(17, 33)), generator.normal(size=(33, 9))
    with mx.stream(mx.cpu):
        left = mx.array(a, dtype=dtype) * (1j if dtype == mx.complex64 else 1)
        product = np.array(left @ mx.array(b, dtype=dtype))
    assert np.abs(product - (1j if dtype == mx.complex64 else 1) * (a @ b)).max() < (
        1e-12 if dtype == mx.float64 else 1e-4
    )


@linux_cpu
def test_openblas_is_in_front():
    facts = report()
    assert facts["warnings"] == []
    assert facts["blas"].startswith("OpenBLAS 0.3.")
    assert facts["blas_found"] == "PyPI's scipy-openblas32"
    assert facts["blas_threads"] == facts["cores"]
    assert facts["mlx"] == importlib.metadata.version("mlx")


@linux_cpu
def test_a_first_use_by_several_processes_at_once(tmp_path):
    processes = [start(XDG_CACHE_HOME=str(tmp_path)) for _ in range(3)]
    facts = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    assert all(fact["blas"].startswith("OpenBLAS") and not fact["warnings"] for fact in facts)
    names = sorted(path.name for path in (tmp_path / "stepbus" / "compiled").iterdir())
    assert [name.partition("-")[0] for name in names] == ["blas", "kernels", "redirect"]


@linux_cpu
def test_the_environment_chooses():
    assert report(STEPBUS_BLAS="mlx")["blas_found"] == "STEPBUS_BLAS=mlx"
    given = report(STEPBUS_BLAS=str(blas.openblas_path()))
    assert given["blas"].startswith("OpenBLAS") and given["blas_found"].startswith("STEPBUS_BLAS=/")
    wrong = report(STEPBUS_BLAS="/no/such/library.so")["error"]
    assert wrong.startswith("BadInput: STEPBUS_BLAS: expected 'mlx' or the path of a BLAS library, got '/no/such")


@linux_cpu
def test_a_missing_compiler_is_said(tmp_path):
    facts = report(PATH=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
    assert facts["blas"] == "MLX's own" and facts["compile"] is False
    slow, uncompiled = facts["warnings"]
    assert slow.startswith("BackendWarning: matrix products will be 15 to 30 times slower")
    assert slow.endswith("no compiler (cc, gcc or clang) is on PATH; install one, such as Debian's gcc and g++")
    assert uncompiled.startswith("BackendWarning: mx.compile is off because g++ is not on PATH")


@linux_cpu
def test_a_missing_package_is_said():
    hide = (
        "import importlib.util as u; f = u.find_spec; u.find_spec = lambda n: None if n == 'scipy_openblas32' else f(n)"
    )
    (warning,) = report(before=hide)["warnings"]
    assert "PyPI's scipy-openblas32 is not installed; mend: pip install 'stepbus[cpu]'" in warning


@linux_cpu
def test_mlx_imported_first_is_said():
    process = start("import mlx.core", errors=subprocess.PIPE)
    out, said = process.communicate(timeout=60)
    facts = json.loads(out)
    slow, temporary = said.splitlines()
    mend = "; write `from stepbus import mx` in place of `import mlx.core as mx`"
    own = "MLX was imported before stepbus, so its own BLAS stays, 15 to 30 times slower"
    assert slow == f"stepbus: note: {own}{mend}"
    assert "temporary files of this process go beside its compiled kernels" in temporary and mend in temporary
    assert (facts["blas"], facts["blas_found"]) == ("MLX's own", own)
    assert facts["warnings"] == [], "-W error would make a failed test of it"


@linux_cpu
def test_mlx_by_stepbuss_own_name_comes_second():
    facts = report(before="from stepbus import mx; import mlx.core; assert mx is mlx.core\n")
    assert facts["blas"].startswith("OpenBLAS") and facts["warnings"] == []


def test_mlx_without_a_backend_names_the_extra():
    error = report(before="import sys; sys.modules['mlx.core'] = None")["error"]
    assert error.startswith("BadInput: MLX has no backend here")
    assert error.endswith(
        "install one: pip install 'stepbus[cpu]', 'stepbus[cuda12]' or 'stepbus[cuda13]'" * (sys.platform == "linux")
    )


@linux_cpu
def test_work_is_spread_over_streams():
    streams = backend.row_streams()
    assert len(streams) == (2 if backend.cores() > 1 else 0)
    assert streams == backend.cpu_streams()


@linux_cpu
def test_each_thread_has_streams_of_its_own() -> None:
    """Also one that has the number of a thread which has ended."""

    def compute() -> None:
        for stream in backend.cpu_streams():
            with mx.stream(stream):
                found.append(mx.array([1.0, 2.0]).sum().item())

    found: list[Any] = []
    for _ in range(12):
        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()
    assert found == [3.0] * 12 * len(backend.cpu_streams())


CORE = Path(machine.__file__).parents[1]
NEEDS_MLX = [
    file for file in sorted(CORE.rglob("*.py")) if re.search("^(import|from) mlx", file.read_text(), re.MULTILINE)
]


@pytest.mark.parametrize("file", NEEDS_MLX, ids=lambda file: str(file.relative_to(CORE)))
def test_whoever_imports_mlx_has_the_fast_blas_first(file):
    imported = [line for line in file.read_text().splitlines() if re.match("(import|from) (mlx|stepbus)", line)]
    assert imported[0].startswith("from stepbus.device import backend as backend")


@linux_cpu
@pytest.mark.parametrize("first", ["stepbus.api import open_trainer", "stepbus.device import choice"])
def test_the_fast_blas_comes_first_whatever_is_imported(first):
    assert report(f"from {first}\n", OPENBLAS_CORETYPE="Haswell")["blas"].startswith("OpenBLAS")
