"""What the process runs on, as far as it is known before MLX is imported."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import sys


class BackendWarning(UserWarning):
    """MLX works, but slower or less tidily than this machine allows; the message ends with the mend."""


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def version(distribution: str) -> str | None:
    """Return the version of an installed distribution, or None where it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def on_linux_cpu() -> bool:
    """Say whether MLX's CPU wheel for Linux is the backend; a build of one's own links the BLAS of its builder."""
    cuda = version("mlx-cuda-12") or version("mlx-cuda-13")
    return sys.platform == "linux" and cuda is None and version("mlx-cpu") is not None
