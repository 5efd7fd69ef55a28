"""The parts of a classifier as they are called: what one raises or gives is looked at, and names who made it."""

from __future__ import annotations

from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
from attrs import evolve

from stepbus.base import ModelError
from stepbus.base.guards import Maker


def maker_of(model: Any, part: str) -> Maker:
    """Return how messages name a part of a model, and whom it comes from.

    Args:
        model: The model, which holds its parts by name.
        part: encoder, pooling or head.
    """
    provider: str = getattr(model, "providers", {}).get(part, "")
    return Maker(f"the {part} {type(getattr(model, part)).__name__}", provider)


def called(model: Any, part: str, *arguments: Any, method: str = "", mend: str = "", **keywords: Any) -> Any:
    """Return what a part of a model says.

    Args:
        model: The model.
        part: encoder, pooling or head.
        *arguments: What it is called with.
        method: The method to call; none calls the part itself.
        mend: What to do where it raises.
        **keywords: What it is called with by name.

    Raises:
        ModelError: It raised, or has no such method.
    """
    maker, module = maker_of(model, part), getattr(model, part)
    function = getattr(module, method, None) if method else module
    if function is None:
        raise maker.fault(f"expected methods loss and predictions, got no {method}", ModelError)
    with evolve(maker, mend=mend).calling(method or "its call", ModelError):
        return function(*arguments, **keywords)


def pooled_by(model: Any, hidden: mx.array, mask: mx.array) -> mx.array:
    """Return what the pooling makes of hidden [B, L, D] and a mask [B, L]: [B, D].

    Raises:
        ModelError: It raised, or gave something else.
    """
    pooled: mx.array = called(model, "pooling", hidden, mask)
    wanted = (hidden.shape[0], hidden.shape[-1])
    if shape_of(pooled) != wanted:
        raise maker_of(model, "pooling").fault(f"expected [B, D], here {list(wanted)}, got {shown(pooled)}", ModelError)
    return pooled


def shape_of(value: Any) -> tuple[int, ...]:
    """Return the shape of an array; (-1,), which no array has, of anything else."""
    return value.shape if isinstance(value, mx.array) else (-1,)


def shown(value: Any) -> str:
    """Return what was given in place of an array that was expected, in words."""
    if isinstance(value, mx.array):
        return f"an array {list(value.shape)}"
    return f"a {type(value).__name__}"
