"""MLX, behind a fast BLAS and with its compiled kernels in a folder of the user's own; import this before `mlx.core`.

`stepbus.device.before_mlx` loads what goes in front, `stepbus.device.kernel_cache` says where kernels lie. On macOS
(Accelerate and Metal; it was not at hand to test that) and with MLX's CUDA wheels nothing is put in front.

Example:
    >>> mx.sum(mx.array([1.0, 2.0])).item()
    3.0
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from stepbus.base import BadInput
from stepbus.device import cuda_kernels, kernel_cache
from stepbus.device.before_mlx import blas as blas
from stepbus.device.before_mlx import redirected
from stepbus.device.machine import BackendWarning as BackendWarning
from stepbus.device.machine import cores as cores
from stepbus.device.machine import on_linux_cpu, version

CACHE_LIMIT = 4 << 30

try:
    import mlx.core
except ImportError as error:
    backends = "stepbus[cpu]', 'stepbus[cuda12]' or 'stepbus[cuda13]" if sys.platform == "linux" else "mlx"
    raise BadInput(f"MLX has no backend here ({error}); install one: pip install '{backends}'") from error


# MLX itself, for who would import it before stepbus otherwise: `from stepbus import mx`.
mx = mlx.core


def _open_kernels() -> kernel_cache.KernelCache | None:
    if redirected is None:
        return None
    try:
        return kernel_cache.open_cache(str(vars(mx)["__version__"]), redirected)
    except OSError as error:
        warnings.warn(
            f"mx.compile is off because no folder can hold its kernels ({error}), so steps are slower; mend: make "
            "room, or set XDG_CACHE_HOME",
            BackendWarning,
            stacklevel=3,
        )
        return None


def _keep_cuda_kernels() -> Path | None:
    if sys.platform != "linux" or not (version("mlx-cuda-12") or version("mlx-cuda-13")) or not mx.cuda.is_available():
        return None
    return cuda_kernels.keep(str(vars(mx)["__version__"]), str(mx.device_info(mx.gpu).get("architecture", "")))


kernels = _open_kernels()
kept_for_cuda = _keep_cuda_kernels()
compiles = not on_linux_cpu() or kernels is not None
if not compiles:
    mx.disable_compile()  # a g++ that fails would end the first step with an error
if mx.default_device().type == mx.DeviceType.cpu:
    # Otherwise every step gives its buffers back to the system and pays the page faults again.
    mx.set_cache_limit(CACHE_LIMIT)


# A stream belongs to the thread that asked for it, and ends with it; its number is given to the next thread.
_here = threading.local()
_known: dict[str, mx.Stream] = {}
_process = os.getpid()


def finish() -> None:
    """Wait for what the CPU's streams compute.

    At the end of a process and before a fork OpenBLAS ends its threads and waits for them. A matrix product that begins
    in that moment takes from such a thread the word that it shall end: the process then sleeps for ever.
    """
    if os.getpid() == _process:  # a fork has the streams and not their threads
        # Of nothing else: to wait for a stream that computed nothing starts its thread, which a fork would miss.
        for stream in list(_known.values()):
            with suppress(RuntimeError):  # of what was computed, told to whoever asks for it
                mx.synchronize(stream)


if on_linux_cpu():
    atexit.register(finish)
    os.register_at_fork(before=finish)


def cpu_streams() -> tuple[mx.Stream, ...]:
    """Return the streams over which CPU work is spread: the default one and one more; none elsewhere or on one core.

    A CPU stream computes on one thread, matrix products aside, so work on two streams uses two cores.

    Example:
        >>> len(cpu_streams()) in (0, 2)
        True
    """
    if mx.default_device().type != mx.DeviceType.cpu or cores() < 2:
        return ()
    if not hasattr(_here, "streams"):
        _here.streams = mx.default_stream(mx.Device(mx.cpu)), mx.new_stream(mx.Device(mx.cpu))
        _known.update({str(stream): stream for stream in _here.streams})
    found: tuple[mx.Stream, ...] = _here.streams
    return found


def row_streams() -> tuple[mx.Stream, ...]:
    """Return `cpu_streams` for a model that runs a share of the batch's rows on each, start to end.

    BLAS then gets its share of the cores per stream, for the rest of the process: with all of them each, its threads
    wait for each other (twice the time on two cores; more cores were not at hand).

    Example:
        >>> row_streams() == cpu_streams()
        True
    """
    streams = cpu_streams()
    if streams and blas.set_threads is not None:
        blas.set_threads(max(1, cores() // len(streams)))
    return streams


def describe_machine() -> dict[str, Any]:
    """Return what `stepbus info` prints about MLX and the machine: versions, device, BLAS, cores, memory in bytes.

    Example:
        >>> sorted(describe_machine())
        ['blas', 'blas_found', 'blas_threads', 'compile', 'compiled_kernels', 'cores', 'device', 'memory', 'mlx']
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "mlx": version("mlx"),
        "device": str(mx.default_device()),
        "blas": blas.name,
        "blas_found": blas.found,
        "blas_threads": blas.threads,
        "compile": compiles,
        "compiled_kernels": str(kernels.store or kernels.folder) if kernels else kept_for_cuda and str(kept_for_cuda),
        "cores": cores(),
        "memory": memory,
    }
