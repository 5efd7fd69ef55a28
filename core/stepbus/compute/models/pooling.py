"""A pooling as a model is built with it: what it reads of the encoder, and how wide what it gives is."""

from __future__ import annotations

import inspect
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.nn as nn

from stepbus.base import ModelError, Selected, show_python
from stepbus.compute.models.part_state import built_part


def build_pooling(selected: Selected, width: int, layers: int | None) -> nn.Module:
    """Build a pooling; a `build` with an argument `layers` is told how many the encoder has.

    Args:
        selected: The pooling that was picked.
        width: Width of a token's vector.
        layers: How many layers the encoder has; None where nobody knows.

    Raises:
        ModelError: It asks for layers where nobody knows of any, its `output_size` is no width, or it holds what no
            file keeps.
    """
    told: dict[str, int] = {}
    if _asks_for_layers(selected):
        if layers is None:
            raise ModelError(
                f"{selected.maker.said} needs to know how many layers the encoder has, and the encoder offers none as "
                "`layers`; pick another pooling"
            )
        told = {"layers": layers}
    pooling = built_part(selected, width, **told)
    own = getattr(pooling, "output_size", None)
    if own is not None and (not isinstance(own, int) or isinstance(own, bool) or own < 1):
        expected = "output_size: expected a whole number of at least 1, the width of what it gives"
        raise selected.maker.fault(f"{expected}, got {show_python(own)}", ModelError)
    return pooling


def check_reads(encoder: Any, selected: Selected, pooling: Any) -> None:
    """Refuse a pooling of all hidden layers on an encoder that gives the last ones alone.

    Raises:
        ModelError: The encoder takes no `all_layers`.
    """
    if not getattr(pooling, "all_layers", False):
        return
    try:
        inspect.signature(encoder.__call__).bind(None, None, None, first_token_only=False, all_layers=True)
    except TypeError as error:
        raise ModelError(
            f"model.pooling: {selected.name} reads all hidden layers, and the encoder {type(encoder).__name__} gives "
            "the last one alone: its call takes no all_layers; pick another pooling"
        ) from error


def _asks_for_layers(selected: Selected) -> bool:
    try:
        return "layers" in inspect.signature(selected.component.build).parameters
    except (TypeError, ValueError):
        return False  # it does not say what it takes
