"""What computes: the CPU, Metal or CUDA. Metal was not at hand when this was written; CUDA was tried on one H100."""

from __future__ import annotations

import logging
import re

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX
from stepbus.device import cuda_kernels

# isort: split
import mlx.core as mx

from stepbus.base import BadInput

log = logging.getLogger(__name__)


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


def architecture() -> str:
    """Return what MLX calls the architecture of what it computes on now: applegpu_g13s, sm_75, x86_64; else ""."""
    try:
        return str(mx.device_info(mx.default_device().type).get("architecture", ""))
    except (RuntimeError, TypeError, ValueError):
        return ""


def effective_precision(wanted: str) -> str:
    """Return the number format that a training computes in here.

    Args:
        wanted: What `training.precision` says. auto is bfloat16 on Apple's M3 and newer, and on NVIDIA's Ampere and
            newer; M1 and M2 only emulate it, and CPUs multiply it slowly: there, and on whatever is unknown, it is
            float32. float16, whose gradients may overflow, is taken where it is named. Seen on an H100 alone.

    Example:
        >>> effective_precision("bfloat16")  # auto goes by the device
        'bfloat16'
    """
    return wanted if wanted != "auto" else "bfloat16" if has_fast_bfloat16(kind(), architecture()) else "float32"


def has_fast_bfloat16(kind: str, architecture: str) -> bool:
    """Say whether a device multiplies bfloat16 by itself.

    Args:
        kind: cpu, metal or cuda.
        architecture: What MLX calls it.
    """
    if kind == "metal" and (apple := re.match(r"applegpu_g(\d+)", architecture)):
        return int(apple[1]) >= 15  # the M1 is 13, the M2 14
    if kind == "cuda" and (nvidia := re.match(r"sm_(\d+)\d", architecture)):
        return int(nvidia[1]) >= 8
    return False


def choose(wanted: str) -> None:
    """Make MLX compute on what `environment.device` says, whatever it computed on before.

    Args:
        wanted: auto, cpu or gpu; auto is the machine's GPU, and its CPU where MLX finds none.

    Raises:
        BadInput: There is no GPU that MLX can use.
    """
    has_gpu = mx.metal.is_available() or mx.cuda.is_available()
    if wanted == "gpu" and not has_gpu:
        raise BadInput("environment.device: expected a GPU, and MLX finds none here; set device: auto or cpu")
    # auto is set like the others: an earlier fit of this process may have chosen the CPU.
    mx.set_default_device(mx.Device(mx.gpu if has_gpu and wanted != "cpu" else mx.cpu))
    if (kept := backend.kept_for_cuda) and kind() == "cuda" and not cuda_kernels.number(kept):
        log.warning("no CUDA kernel is compiled yet, which takes minutes at the first fit; they are kept in %s", kept)


def product_rounding() -> float:
    """Return what float32 matrix products may differ by, beside their usual size, if other kernels computed them.

    Another number of rows is another kernel. A GPU's matrix units take float32 as TF32 (CUDA, Apple's M5), which keeps
    10 bits of each factor; a vector times a matrix goes without them. A number is then off by 0.0004 of the usual size,
    the worst of thousands by four times that, and layers add up. On the CPU all is float32.
    """
    return 0.0 if kind() == "cpu" else 1e-2


def length_multiple() -> int:
    """Return what every padded length is a multiple of on this device: in training, evaluation and prediction alike.

    CUDA's fused attention takes multiples of 128: the documented figure. On an H100, where the host takes longer than
    the card, an update of MiniLM took the same 30 ms with 8 (float32, 32 rows); slower cards were not at hand.
    """
    return 128 if kind() == "cuda" else 8
