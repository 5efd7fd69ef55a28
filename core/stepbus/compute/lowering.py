"""A model that computes in a lower precision, while its own arrays stay what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepbus.device import backend as backend  # puts the fast BLAS in front of MLX

# isort: split
import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten


def lowered(model: nn.Module, precision: mx.Dtype) -> Callable[[], None]:
    """Let a model compute in a lower precision; its own arrays come back, the frozen ones bit by bit.

    Args:
        model: The model; arrays that are no floating-point numbers stay as they are.
        precision: The number format of the computation; float32 changes nothing.

    Returns:
        What puts the own arrays back. One that the computation has replaced meanwhile, such as a running mean, keeps
        its new value, in its own number format.
    """
    if precision == mx.float32:
        return lambda: None
    own = {name: array for name, array in _flat(model.parameters()) if mx.issubdtype(array.dtype, mx.floating)}
    low = {name: array.astype(precision) for name, array in own.items()}
    model.update(tree_unflatten(list(low.items())))

    def put_back() -> None:
        now = [(name, array) for name, array in _flat(model.parameters()) if name in own]
        back = [(name, own[name] if array is low[name] else array.astype(own[name].dtype)) for name, array in now]
        model.update(tree_unflatten(back))

    return put_back


def _flat(tree: Any) -> list[tuple[str, mx.array]]:
    named: Any = tree_flatten(tree)
    return list(named)
