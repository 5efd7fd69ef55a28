"""Puts a fast BLAS in front of MLX on Linux CPU; import this before `mlx.core`.

The Linux CPU wheel of MLX bundles the reference BLAS, 15 to 30 times slower than the machine. `libmlx.so` looks up
`cblas_sgemm`, `cblas_dgemm` and `cblas_cgemm` by name, so a library that is loaded before it and exports them takes
over. OpenBLAS comes from PyPI's `scipy-openblas32`, whose names carry a prefix: three C forwarders are compiled once.

STEPBUS_BLAS chooses: the path of a BLAS library, or `mlx` for MLX's own; unset means scipy-openblas32.
On macOS (Accelerate and Metal) and with MLX's CUDA wheels nothing is loaded; neither was at hand to test that here.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen

from stepbus.errors import BadInput

MEND = "pip install 'stepbus[cpu]'"
GEMMS = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm")
CACHE_LIMIT = 4 << 30

# The forwarders jump through pointers that Python fills in, so the compiled file knows no path and no version.
FORWARDERS = """
void *to_cblas_sgemm, *to_cblas_dgemm, *to_cblas_cgemm;
#define FORWARD(name, SCALAR, ARRAY) \\
  typedef void name##_t(int, int, int, int, int, int, SCALAR, const ARRAY *, int, const ARRAY *, int, SCALAR, \\
                        ARRAY *, int); \\
  void name(int o, int ta, int tb, int m, int n, int k, SCALAR alpha, const ARRAY *a, int lda, const ARRAY *b, \\
            int ldb, SCALAR beta, ARRAY *c, int ldc) { \\
    ((name##_t *)to_##name)(o, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc); \\
  }
FORWARD(cblas_sgemm, float, float)
FORWARD(cblas_dgemm, double, double)
FORWARD(cblas_cgemm, const void *, void)
"""


class BackendWarning(UserWarning):
    """MLX works, but far slower than this machine allows; the message ends with the mend."""


@frozen
class Blas:
    """The BLAS that MLX uses.

    Args:
        name: Its name and version, as far as known.
        found: How it was found, in words.
        set_threads: Says on how many threads one product is computed, where the library lets us say so.
    """

    name: str
    found: str
    set_threads: Callable[[int], None] | None = None


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _on_linux_cpu() -> bool:
    """Say whether MLX's CPU wheel for Linux is the backend; a build of one's own links the BLAS of its builder."""
    cuda = _version("mlx-cuda-12") or _version("mlx-cuda-13")
    return sys.platform == "linux" and cuda is None and _version("mlx-cpu") is not None


def _compiled_forwarders() -> Path:
    """Return the forwarder library, compiled on first use into the user's cache directory."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stepbus"
    digest = hashlib.sha256(FORWARDERS.encode()).hexdigest()[:12]
    library = cache / f"blas-{platform.machine()}-{digest}.so"
    if library.exists():
        return library
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise OSError("no C compiler (cc, gcc or clang) is on PATH to connect it; install one, such as Debian's gcc")
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        cache = Path(tempfile.mkdtemp(prefix="stepbus-"))  # a home that cannot be written: once per process
        library = cache / library.name
    with tempfile.TemporaryDirectory(dir=cache) as work:  # several processes may do this at once
        source, built = Path(work, "blas.c"), Path(work, "blas.so")
        source.write_text(FORWARDERS)
        command = [compiler, "-O2", "-shared", "-fPIC", str(source), "-o", str(built)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise OSError(f"{compiler} could not compile its three forwarders: {result.stderr.strip()[-300:]}")
        built.replace(library)
    return library


def _put_in_front(path: Path, found: str) -> Blas:
    """Load a BLAS so that MLX, imported later, finds its products there."""
    library = ctypes.CDLL(str(path))
    prefix = next((p for p in ("", "scipy_") if all(hasattr(library, p + name) for name in GEMMS)), None)
    if prefix is None:
        raise OSError(f"{path} exports none of {', '.join(GEMMS)}, with or without the prefix scipy_")
    if prefix == "":
        ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    else:
        # Only the forwarders become visible to all: scipy bundles another OpenBLAS under the same prefix.
        forwarders = ctypes.CDLL(str(_compiled_forwarders()), mode=ctypes.RTLD_GLOBAL)
        for name in GEMMS:
            address = ctypes.cast(getattr(library, prefix + name), ctypes.c_void_p).value
            ctypes.c_void_p.in_dll(forwarders, f"to_{name}").value = address
    setter = getattr(library, f"{prefix}openblas_set_num_threads", None)
    return Blas(_name_of(library, path), found, setter)


def _name_of(library: ctypes.CDLL, path: Path) -> str:
    for prefix in ("", "scipy_"):
        get_config = getattr(library, f"{prefix}openblas_get_config", None)
        if get_config is not None:
            get_config.restype = ctypes.c_char_p
            words = get_config().decode().split()
            kernels = next((word for word in reversed(words) if "=" not in word), "")
            return f"{' '.join(words[:2])} ({kernels} kernels)"
    return path.name


def _openblas() -> Path:
    """Return scipy-openblas32's library without importing the package."""
    package = importlib.util.find_spec("scipy_openblas32")
    for folder in (package.submodule_search_locations or ()) if package else ():
        for library in sorted(Path(folder, "lib").glob("libscipy_openblas*.so")):
            return library
    raise OSError("PyPI's scipy-openblas32 is not installed")


def _choose() -> Blas:
    """Load the BLAS that STEPBUS_BLAS or the installed packages ask for, before MLX."""
    own = Blas("MLX's own", "nothing else was asked for")
    if not _on_linux_cpu():
        return own
    wish = os.environ.get("STEPBUS_BLAS", "")
    if wish == "mlx":
        return Blas("MLX's own", "STEPBUS_BLAS=mlx")
    if sys.modules.get("mlx.core") is not None:
        text = "mlx.core was imported before stepbus.backend, so its slow BLAS stays"
        warnings.warn(f"{text}; import stepbus.backend first", BackendWarning, stacklevel=3)
        return Blas("MLX's own", text)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(cores()))
    # MLX starts operations depth first beyond this width, and would finish one stream's work before the other's:
    # two streams then keep 1.6 cores busy instead of 1.75.
    os.environ.setdefault("MLX_BFS_MAX_WIDTH", "1000")
    if wish:
        try:
            return _put_in_front(Path(wish).expanduser(), f"STEPBUS_BLAS={wish}")
        except OSError as error:
            raise BadInput(
                f"STEPBUS_BLAS: expected 'mlx' or the path of a BLAS library, got {wish!r}: {error}"
            ) from error
    try:
        return _put_in_front(_openblas(), "PyPI's scipy-openblas32")
    except OSError as error:
        text = f"matrix products will be 15 to 30 times slower than this machine allows: {error}"
        warnings.warn(f"{text}; mend: {MEND}", BackendWarning, stacklevel=3)
        return Blas("MLX's own", str(error))


blas = _choose()

try:
    import mlx.core as mx
except ImportError as error:
    backends = "stepbus[cpu]', 'stepbus[cuda12]' or 'stepbus[cuda13]" if sys.platform == "linux" else "mlx"
    raise BadInput(f"MLX has no backend here ({error}); install one: pip install '{backends}'") from error

# MLX compiles fused CPU kernels with g++, and without it runs them one operation at a time, silently.
compiles = not _on_linux_cpu() or shutil.which("g++") is not None
if not compiles:
    warnings.warn(
        "mx.compile is off because g++ is not on PATH, so steps are slower; mend: install it, such as Debian's g++",
        BackendWarning,
        stacklevel=2,
    )
if mx.default_device().type == mx.DeviceType.cpu:
    # Otherwise every step gives its buffers back to the system and pays the page faults again.
    mx.set_cache_limit(CACHE_LIMIT)


def cpu_streams() -> tuple[mx.Stream, ...]:
    """Return the streams over which CPU work is spread: the default one and one more; none elsewhere or on one core.

    A CPU stream computes on one thread, matrix products aside, so work on two streams uses two cores.
    """
    if mx.default_device().type != mx.DeviceType.cpu or cores() < 2:
        return ()
    return _cpu_streams(threading.get_ident())


def row_streams() -> tuple[mx.Stream, ...]:
    """Return `cpu_streams` for a model that runs a share of the batch's rows on each, start to end.

    BLAS then gets its share of the cores per stream, for the rest of the process: with all of them each, its threads
    wait for each other (twice the time on two cores; more cores were not at hand).
    """
    streams = cpu_streams()
    if streams and blas.set_threads is not None:
        blas.set_threads(max(1, cores() // len(streams)))
    return streams


@functools.cache
def _cpu_streams(thread: int) -> tuple[mx.Stream, ...]:
    # A stream belongs to the thread that asked for it.
    return mx.default_stream(mx.Device(mx.cpu)), mx.new_stream(mx.Device(mx.cpu))


def describe() -> dict[str, Any]:
    """Return what `stepbus info` prints about MLX and the machine: versions, device, BLAS, cores, memory in bytes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "mlx": _version("mlx"),
        "device": str(mx.default_device()),
        "blas": blas.name,
        "blas_found": blas.found,
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS") if blas.set_threads is not None else None,
        "compile": compiles,
        "cores": cores(),
        "memory": memory,
    }
