"""What computes: the CPU, Metal or CUDA. Metal and CUDA were not at hand when this was written."""

from __future__ import annotations

import mlx.core as mx

from stepbus.base import BadInput


def kind() -> str:
    """Return cpu, metal or cuda: what MLX computes on now."""
    if mx.default_device().type == mx.DeviceType.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"


def chip() -> str | None:
    """Return the name of what MLX computes on now, where MLX says it."""
    try:
        name = mx.device_info(mx.default_device().type).get("device_name")
    except (RuntimeError, TypeError, ValueError):
        return None
    return None if name is None else str(name)


def choose(wanted: str) -> None:
    """Make MLX compute on what `environment.device` says.

    Args:
        wanted: auto, cpu or gpu.

    Raises:
        BadInput: There is no GPU that MLX can use.
    """
    if wanted == "cpu":
        mx.set_default_device(mx.Device(mx.cpu))
    elif wanted == "gpu":
        if not (mx.metal.is_available() or mx.cuda.is_available()):
            raise BadInput("environment.device: expected a GPU, and MLX finds none here; set device: auto or cpu")
        mx.set_default_device(mx.Device(mx.gpu))
