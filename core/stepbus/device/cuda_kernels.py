"""MLX's compiled CUDA kernels: kept in a folder of the user's own, and only where they were written to their end.

MLX compiles fused operations with NVRTC, some dozens for a fit at seconds each, into TMPDIR/mlx/VERSION/ptx: shared by
all users, the same for every card, and gone when the machine starts anew. It reads the folder from a variable, so one
of the user's own is named there. Of each kernel MLX writes NAME.ptx, then NAME.txt, then NAME.cu, in place: where the
last is missing, a process was killed while it wrote, and MLX would load a part.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from stepbus.device import cache_folder

VARIABLE = "MLX_PTX_CACHE_DIR"
log = logging.getLogger(__name__)


def keep(version: str, architecture: str) -> Path | None:
    """Tell MLX to keep its kernels in the user's cache folder; before the first is compiled.

    Args:
        version: MLX's version.
        architecture: What MLX calls the card's, such as sm_90; a kernel runs on no other.

    Returns:
        The folder, or None where the user named one, or where none can be made: MLX then takes its own.
    """
    if VARIABLE in os.environ:
        return None
    name = re.sub(r"[^\w.-]", "_", f"{version}-{architecture}")
    try:
        folder = cache_folder.own_folder(cache_folder.root(), "compiled", "cuda", name)
        remove_parts(folder)
    except OSError as error:
        log.warning("CUDA kernels are kept in MLX's own temporary folder: %s", error)
        return None
    os.environ[VARIABLE] = str(folder)
    return folder


def remove_parts(folder: Path) -> None:
    """Remove the kernels that were not written to their end; MLX compiles them anew.

    Args:
        folder: Where MLX keeps them; the name of one that is too long for a file goes over several folders.
    """
    for kernel in sorted(folder.rglob("*.ptx")):
        if not all(_size(kernel.with_suffix(suffix)) for suffix in (".ptx", ".txt", ".cu")):
            cache_folder.remove(kernel)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def number(folder: Path) -> int:
    """Return how many kernels a folder has."""
    return sum(1 for _ in folder.rglob("*.ptx"))
