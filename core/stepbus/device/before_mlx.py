"""What has to be loaded before MLX is, by whoever imports it: a fast BLAS, and a place for its compiled kernels.

Importing this imports no MLX. A plugin may import MLX, so this comes before any plugin.
"""

from __future__ import annotations

import shutil
import warnings

from stepbus.device import blas as blas_libraries
from stepbus.device import kernel_cache
from stepbus.device.machine import BackendWarning, on_linux_cpu


def _redirect() -> kernel_cache.Redirect | None:
    """Load what gives MLX's kernels a folder of the user's own; None where MLX compiles none."""
    if not on_linux_cpu():
        return None
    # MLX compiles fused CPU kernels with g++, and without it runs them one operation at a time, silently.
    if shutil.which("g++") is None:
        text = "g++ is not on PATH, so steps are slower; mend: install it, such as Debian's g++"
    else:
        try:
            return kernel_cache.redirect()
        except OSError as error:
            mend = "mend that, or name another folder by XDG_CACHE_HOME"
            text = f"it compiles nothing here ({error}), so steps are slower; {mend}"
    warnings.warn(f"mx.compile is off because {text}", BackendWarning, stacklevel=3)
    return None


blas = blas_libraries.choose()
redirected = _redirect()
