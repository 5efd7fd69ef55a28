"""What the last bits of a result depend on besides settings, rows and seed: device, cores, BLAS, compiler, versions."""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

# Another one of these is more than last bits: it is refused like another setting.
DECIDING = ("device", "stepbus")

_WORDS = {
    "architecture": "{}",
    "chip": "{}",
    "cores": "{} cores",
    "streams": "{} CPU streams",
    "blas": "BLAS {}",
    "blas_threads": "{} BLAS threads",
    "compile": "mx.compile {}",
    "compiler": "g++ {}",
    "libc": "{}",
    "mlx": "MLX {}",
    "numpy": "NumPy {}",
    "tokenizers": "tokenizers {}",
}


@frozen
class Difference:
    """A condition that is not what it was.

    Args:
        name: Which.
        was: What it was, in words.
        now: What it is, in words.
    """

    name: str
    was: str
    now: str

    @property
    def effect(self) -> str:
        """What it does, in words."""
        if self.name == "tokenizers":
            return "new texts may be cut into other tokens"
        return "results may differ in their last bits"


def current() -> dict[str, Any]:
    """Return the conditions under which this process computes, as JSON values."""
    import mlx.core as mx

    from stepbus.device import backend
    from stepbus.device import choice as device

    kind = device.kind()
    return {
        "device": kind,
        "chip": device.chip(),
        "cores": backend.cores(),
        "streams": len(backend.cpu_streams()),
        "blas": backend.blas.name if kind == "cpu" else None,
        "blas_threads": backend.blas.threads if kind == "cpu" else None,
        "compile": "on" if backend.compiles else "off",
        "mlx": str(vars(mx)["__version__"]),
        **_fixed(),
    }


@functools.cache
def _fixed() -> dict[str, Any]:
    from stepbus.base import __version__
    from stepbus.device import backend, kernel_cache
    from stepbus.device.machine import version
    from stepbus.device.sources import code_version

    return {
        "architecture": platform.machine(),
        "compiler": kernel_cache.compiler_version() if backend.kernels is not None else None,
        "libc": " ".join(platform.libc_ver()).strip() or None,
        # No product of NumPy's BLAS reaches a weight; its random numbers order the rows.
        "numpy": version("numpy"),
        "tokenizers": version("tokenizers"),
        "stepbus": code_version("stepbus", __version__, __name__),
    }


def compare(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Return what differs in the last bits only, in order of name; those in DECIDING are left out."""
    return [
        Difference(name, _in_words(name, saved.get(name)), _in_words(name, now.get(name)))
        for name in _WORDS
        if saved.get(name) != now.get(name)
    ]


def _in_words(name: str, value: Any) -> str:
    if value is None and _WORDS[name] == "{}":
        return f"unknown {name}"
    words = _WORDS[name].format("unknown" if value is None else value)
    return words.removesuffix("s") if name in ("cores", "streams", "blas_threads") and value == 1 else words


def unpromised() -> Iterator[str]:
    """Give each reason why this device cannot promise the same bits twice."""
    from stepbus.device import choice as device

    kind = device.kind()
    if kind != "cpu":
        name = {"metal": "Metal", "cuda": "CUDA"}[kind]
        yield (
            f"expected a CPU, got {name}, which adds up gradients in no fixed order, so that no two runs agree to the "
            "bit; set environment.device: cpu, or exact: false"
        )
