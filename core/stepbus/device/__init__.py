"""The machine: the fast BLAS on Linux, the choice of a device, memory figures, caches of kernels and libraries."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stepbus.device.memory import free_memory as free_memory
    from stepbus.device.sources import code_version as code_version
else:
    from stepbus.base.lazy import lazily

    __getattr__, __dir__, __all__ = lazily(
        __name__,
        memory="free_memory",
        sources="code_version",
    )
