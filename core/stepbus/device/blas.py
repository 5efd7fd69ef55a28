"""Which BLAS computes MLX's matrix products on Linux CPU; it must be loaded before `mlx.core`.

The Linux CPU wheel of MLX bundles the reference BLAS, 15 to 30 times slower than the machine. `libmlx.so` looks up
`cblas_sgemm`, `cblas_dgemm` and `cblas_cgemm` by name, so a library that is loaded before it and exports them takes
over. OpenBLAS comes from PyPI's `scipy-openblas32`, whose names carry a prefix: three C forwarders are compiled once.

STEPBUS_BLAS chooses: the path of a BLAS library, or `mlx` for MLX's own; unset means scipy-openblas32.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from stepbus.base import BadInput
from stepbus.device import native_libraries
from stepbus.device.machine import MLX_SECOND, BackendWarning, cores, note, on_linux_cpu

MEND = "pip install 'stepbus[cpu]'"
GEMMS = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm")

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


@frozen
class Blas:
    """The BLAS that MLX uses.

    Args:
        name: Its name and version, as far as known.
        found: How it was found, in words.
        set_threads: Says on how many threads one product is computed, where the library lets us say so.
        threads: How many threads it began with, where it says so.
    """

    name: str
    found: str
    set_threads: Callable[[int], None] | None = None
    threads: int | None = None


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
        try:
            forwarders = native_libraries.load("blas", FORWARDERS, ("cc", "gcc", "clang"), ("-x", "c", "-O2"))
        except OSError as error:
            raise OSError(f"the three forwarders that connect it cannot be compiled: {error}") from error
        for name in GEMMS:
            address = ctypes.cast(getattr(library, prefix + name), ctypes.c_void_p).value
            ctypes.c_void_p.in_dll(forwarders, f"to_{name}").value = address
    setter = getattr(library, f"{prefix}openblas_set_num_threads", None)
    getter = getattr(library, f"{prefix}openblas_get_num_threads", None)
    return Blas(_name_of(library, path), found, setter, None if getter is None else int(getter()))


def _name_of(library: ctypes.CDLL, path: Path) -> str:
    for prefix in ("", "scipy_"):
        get_config = getattr(library, f"{prefix}openblas_get_config", None)
        if get_config is not None:
            get_config.restype = ctypes.c_char_p
            words = get_config().decode().split()
            kernels = next((word for word in reversed(words) if "=" not in word), "")
            return f"{' '.join(words[:2])} ({kernels} kernels)"
    # A library that does not say its version: its real name often does, and another build has another size.
    real = path.resolve()
    return f"{real.name} of {real.stat().st_size} bytes"


def openblas_path() -> Path:
    """Return scipy-openblas32's library without importing the package.

    Raises:
        OSError: It is not installed.
    """
    package = importlib.util.find_spec("scipy_openblas32")
    for folder in (package.submodule_search_locations or ()) if package else ():
        for library in sorted(Path(folder, "lib").glob("libscipy_openblas*.so")):
            return library
    raise OSError(f"PyPI's scipy-openblas32 is not installed; mend: {MEND}")


def _is_installed() -> bool:
    try:
        return bool(openblas_path())
    except OSError:
        return False


def choose() -> Blas:
    """Load the BLAS that STEPBUS_BLAS or the installed packages ask for, before MLX.

    Raises:
        BadInput: STEPBUS_BLAS names nothing that can be loaded.
    """
    own = Blas("MLX's own", "nothing else was asked for")
    if not on_linux_cpu():
        return own
    wish = os.environ.get("STEPBUS_BLAS", "")
    if wish == "mlx":
        return Blas("MLX's own", "STEPBUS_BLAS=mlx")
    if sys.modules.get("mlx.core") is not None and (wish or _is_installed()):
        text = "MLX was imported before stepbus, so its own BLAS stays, 15 to 30 times slower"
        note(f"{text}; {MLX_SECOND}")
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
        return _put_in_front(openblas_path(), "PyPI's scipy-openblas32")
    except OSError as error:
        text = f"matrix products will be 15 to 30 times slower than this machine allows: {error}"
        warnings.warn(text, BackendWarning, stacklevel=3)
        return Blas("MLX's own", str(error))
