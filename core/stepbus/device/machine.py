"""What the process runs on, as far as it is known before MLX is imported."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import os
import sys


class BackendWarning(UserWarning):
    """MLX works, but slower or less tidily than this machine allows; the message ends with the mend."""


# What to write so that MLX comes second, whatever sorts the imports.
MLX_SECOND = "write `from stepbus import mx` in place of `import mlx.core as mx`"


def note(text: str) -> None:
    """Say on the standard error what the order of imports costs; no warning, which -W error makes a failed test."""
    with contextlib.suppress(OSError, AttributeError):  # nobody listens
        sys.stderr.write(f"stepbus: note: {text}\n")


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
